"""Layers in which nothing trains are computed once for each row, and then read from disk."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from llmclf_core import models
from llmclf_core.config import TrainingConfig
from llmclf_core.errors import UserError, explain_os_errors
from llmclf_core.models.bfloat16 import native_bfloat16
from llmclf_core.models.lower import LowerLayers, lower_layers
from llmclf_core.models.shared_prefix import SharedPrefix
from llmclf_core.paths import cache_dir, file_sha256, fingerprint
from llmclf_core.processes import device, process_state, wait_for_everyone
from llmclf_core.steps.state import drop_old
from llmclf_core.tokens.batching import PASS_ROWS, Rows, pad, sorted_batches
from llmclf_core.training.states import States

log = logging.getLogger(__name__)

_KEPT_SECONDS = 24 * 3600
_TOLERANCE = 1e-3
"""Of the largest number: the same pass, done in two parts, gives the same but for rounding."""

Texts = Mapping[str, Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Frozen:
    """What is known of the rows' passes before they begin.

    Attributes:
        lower: the layers that are left out; None when every pass computes them.
        states: by split, what these layers give for each row; its own tokens, if rows share a
            prefix.
        prefix: what they give for the prefix, (tokens, hidden); None when rows share none.
        seconds: that other trainings spent on it.
    """

    lower: LowerLayers | None = None
    states: Mapping[str, States] = field(default_factory=dict)
    prefix: Tensor | None = None
    seconds: float = 0.0

    def left_out(self) -> AbstractContextManager[None]:
        """Inside, passes are to be given what these layers give."""
        return contextlib.nullcontext() if self.lower is None else self.lower.left_out()

    def whole(self) -> AbstractContextManager[None]:
        """Inside, passes over any text compute all layers."""
        return contextlib.nullcontext() if self.lower is None else self.lower.back()

    def given(self, split: str, rows: Rows) -> AbstractContextManager[None]:
        """Inside, a pass over these rows begins above the frozen layers.

        It is padded on the right, or, if rows share a prefix, one sequence.
        """
        if self.lower is None:
            return contextlib.nullcontext()
        states = self.states[split]
        if self.prefix is None:
            return self.lower.giving(states.batch(rows).to(device()))
        own = torch.cat(states.texts(rows)).to(device())
        return self.lower.giving(torch.cat([self.prefix, own]).unsqueeze(0))


@dataclass(frozen=True)
class Pass:
    """One way through the model.

    Attributes:
        model: what transformers or peft made, with its adapter.
        run: the arguments of a pass to the last hidden states: ids and mask, (batch, length),
            padded on the right.
        pad_id: fills batches.
    """

    model: Any
    run: Callable[..., Tensor]
    pad_id: int

    def over(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states of some texts, (texts, longest, hidden)."""
        return self.by_text(self.states(texts), texts)

    def states(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states as the model gives them."""
        return self.run(*pad(texts, self.pad_id, device()))

    def by_text(self, states: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states of a pass over some texts, from any layer, text by text."""
        return states

    def prefix_of(self, states: Tensor) -> Tensor | None:
        """Those of a prefix that all texts share."""
        return None


@dataclass(frozen=True)
class SharedPass(Pass):
    """A pass over texts behind one prefix, by the keyword arguments that it makes.

    Attributes:
        prefix: what all texts share; they are given without it.
    """

    prefix: SharedPrefix

    def states(self, texts: Sequence[Sequence[int]]) -> Tensor:
        return self.run(**self.prefix.inputs(texts))

    def by_text(self, states: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        return self.prefix.layout(texts).rows_of(states[0])

    def prefix_of(self, states: Tensor) -> Tensor | None:
        return states[0, : len(self.prefix.ids)].clone()


@contextmanager
def frozen_layers(
    path: Pass, config: TrainingConfig, key: Sequence[Any], texts: Texts
) -> Iterator[Frozen]:
    """Inside, the frozen layers are not computed, if that is possible and wanted.

    Args:
        path: the way through the model; it takes no gradients here.
        config: ``frozen_layers`` and ``epochs`` are read.
        key: all that decides what the layers give, but for the texts.
        texts: token ids of the rows, by split.

    Raises:
        UserError: when ``frozen_layers`` is ``cache`` and it cannot be done; it says why.
    """
    if config.frozen_layers == "compute" or (config.frozen_layers == "auto" and config.epochs == 1):
        yield Frozen()
        return
    try:
        frozen = _prepare(path, key, texts, share=1 if config.frozen_layers == "cache" else 4)
    except UserError as error:
        if config.frozen_layers == "cache":
            raise UserError(f"training.frozen_layers: cache does not work: {error}") from None
        log.info("every epoch computes all layers: %s", error)
        yield Frozen()
        return
    with frozen.left_out():
        yield frozen


@torch.no_grad()
def _prepare(path: Pass, key: Sequence[Any], texts: Texts, share: int) -> Frozen:
    """``share``: one part in so many of the free disk may be taken."""
    lower = lower_layers(path.model)
    _tidy()
    training = path.model.training
    path.model.eval()
    try:
        example = lower.output(lambda: path.states([[path.pad_id]]))
        _check_room(texts, example, share)
        stores = {
            split: _store(rows, [*key, lower.count], example) for split, rows in texts.items()
        }
        log.info("what the %d frozen layers give is computed once", lower.count)
        before = sum(states.seconds for states in stores.values())
        for split, rows in texts.items():
            _fill(path, lower, stores[split], rows)
        wait_for_everyone()
        frozen = Frozen(lower, stores, path.prefix_of(example), before)
        _check(path, frozen, texts)
    finally:
        path.model.train(training)
    return frozen


def _below(path: Pass, lower: LowerLayers, texts: Sequence[Sequence[int]]) -> Tensor:
    return path.by_text(lower.output(lambda: path.states(texts)), texts)


def _check_room(texts: Texts, example: Tensor, share: int) -> None:
    with explain_os_errors(_root()):
        _root().mkdir(parents=True, exist_ok=True)
    tokens = sum(int(_lengths(rows).sum()) for rows in texts.values())
    needed = tokens * example.shape[-1] * example.element_size()
    free = shutil.disk_usage(_root()).free
    if needed > free / share:
        raise UserError(
            f"it takes {needed / 1e9:.1f} GB, and {_root()} has {free / 1e9:.1f} GB free; "
            "set LLMCLF_CACHE to a larger disk"
        )


def _store(rows: Sequence[Sequence[int]], key: Sequence[Any], example: Tensor) -> States:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.array([len(row), *row], dtype=np.int64).tobytes())
    how = [PASS_ROWS, str(example.dtype), _computed_by()]
    directory = _root() / fingerprint(digest.hexdigest(), *how, *key)
    return States(directory, _lengths(rows), PASS_ROWS, example.shape[-1], example.dtype)


@cache
def _computed_by() -> list[str]:
    """What rounds: other code, or another device, gives the same but for that, which in bfloat16 is
    more than :func:`_check` lets pass."""
    sources = sorted(Path(models.__file__).parent.glob("*.py"))
    code = [torch.__version__, transformers.__version__, *map(file_sha256, sources)]
    instructions = torch.backends.cpu.get_cpu_capability()
    return [*code, device().type, instructions, str(native_bfloat16())]


def _fill(path: Pass, lower: LowerLayers, states: States, rows: Sequence[Sequence[int]]) -> None:
    process = process_state()
    mine = states.missing()[process.process_index :: process.num_processes]
    if mine:
        states.fill(mine, lambda batch: _below(path, lower, [rows[i] for i in batch]))
    states.touch()


def _check(path: Pass, frozen: Frozen, texts: Texts) -> None:
    """Some models' upper layers read more than the output of the layer below."""
    split, rows = next(iter(texts.items()))
    batch = sorted_batches(_lengths(rows), PASS_ROWS)[-1]
    plain = path.over([rows[i] for i in batch])
    with frozen.left_out(), frozen.given(split, batch):
        ours = path.over([rows[i] for i in batch])
    real = torch.arange(plain.shape[1]) < torch.from_numpy(_lengths(rows)[batch]).unsqueeze(1)
    difference = (plain - ours)[real.to(plain.device)].abs().max()
    if not difference <= _TOLERANCE * plain.abs().max():
        raise UserError("this model's upper layers read more than the output of those below")


def _lengths(rows: Sequence[Sequence[int]]) -> Rows:
    return np.array([len(row) for row in rows], dtype=np.int64)


def _root() -> Path:
    return cache_dir() / "frozen"


def _tidy() -> None:
    """Drop what no training has read for a day."""
    with suppress(OSError):
        for entry in list(_root().iterdir()):
            drop_old(entry, _KEPT_SECONDS)
