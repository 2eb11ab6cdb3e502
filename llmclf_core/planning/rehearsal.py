"""Rehearse a training with a few layers, and tell from that what all of them will take."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmclf_core.artifacts import TRAIN, Tokens
from llmclf_core.config import TrainingConfig
from llmclf_core.errors import EXIT_USER_ERROR, UserError, explain_os_errors
from llmclf_core.files import parse_json, write_json
from llmclf_core.paths import cache_dir
from llmclf_core.planning.cutdown import cut_down, shape_of
from llmclf_core.planning.estimate import Layers, Taken, extrapolate, rehearsed
from llmclf_core.planning.rows import few_rows
from llmclf_core.planning.setup import Setup
from llmclf_core.tokens.tokenize import row_lengths

log = logging.getLogger(__name__)

_PROGRAM = "llmclf_core.steps.rehearse"
_KILLED = 9
_TOKEN = 8 + 32
"""Bytes of a token in a Python list: the place in the list, and the number."""


class TooLargeError(UserError):
    """Not even a few layers fit."""


def estimate(setup: Setup, tokens: Tokens, directory: Path, train_tokens: int) -> Taken:
    """What a training will take.

    Not counted are the embeddings of all rows that ``head.init: frozen`` fits the head on.

    Args:
        setup: the training.
        tokens: its rows, or a sample that has the longest of them.
        directory: with the base's ``config.json``.
        train_tokens: of all texts that are trained on, in one epoch.

    Raises:
        TooLargeError: when the system ended a rehearsal.
        UserError: for settings that the training would refuse, or an unwritable cache.
    """
    total, hidden = shape_of(directory)
    layers = layers_in(setup, total)
    training = _shortened(setup.training)
    seen = {}
    with explain_os_errors(cache_dir()):
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="rehearsal-") as scratch:
            few_rows(tokens, training).save(Path(scratch) / "tokens")
            for at in rehearsed(layers, hidden):
                log.info("%s: rehearsing with %d of %d layers", setup.approach, sum(at), total)
                part = _with_layers(setup, at, Path(scratch) / f"{at.frozen}-{at.trained}")
                cut_down(directory, sum(at), Path(part.base.source))
                part = part.model_copy(update={"training": training})
                seen[at] = _rehearse(part, Path(scratch), directory)
    taken = extrapolate(seen, layers)
    rows = row_bytes(setup.approach, train_tokens)
    return replace(taken, train_memory=taken.train_memory + rows)


def tokens_of(tokens: Tokens) -> int:
    """Tokens of all texts that are trained on."""
    return int(row_lengths(tokens.splits[TRAIN]).sum())


def row_bytes(approach: str, train_tokens: int) -> int:
    """What the rows themselves take in memory; most approaches leave them on disk."""
    return _TOKEN * train_tokens if approach == "instruct" else 0


def layers_in(setup: Setup, total: int) -> Layers:
    """Which of the base's layers train.

    Raises:
        UserError: when more are to train than there are.
    """
    trained = (setup.lora.top_layers if setup.lora else None) or total
    if trained > total:
        raise UserError(f"lora.top_layers is {trained}, but the base model has {total} layers")
    return Layers(total - trained, trained)


def _shortened(training: TrainingConfig) -> TrainingConfig:
    """As few steps as show what one takes; a second epoch caches what frozen layers give."""
    return training.model_copy(
        update={
            "epochs": min(training.epochs, 2),
            "accumulation": min(training.accumulation, 2),
            "evaluations_per_epoch": 1,
            "patience": 0,
            "memory_check": "off",
        }
    )


def _with_layers(setup: Setup, layers: Layers, base: Path) -> Setup:
    changes: dict[str, Any] = {
        "base": setup.base.model_copy(update={"source": str(base), "revision": None})
    }
    if setup.lora and layers.frozen:
        changes["lora"] = setup.lora.model_copy(update={"top_layers": layers.trained})
    elif setup.lora:
        changes["lora"] = setup.lora.model_copy(update={"top_layers": None})
    return setup.model_copy(update=changes)


def _rehearse(setup: Setup, scratch: Path, whole: Path) -> Taken:
    order, result = scratch / "order.json", scratch / "result.json"
    given = {"setup": setup.model_dump(), "tokens": str(scratch / "tokens"), "whole": str(whole)}
    write_json(order, given)
    done = subprocess.run(
        [sys.executable, "-m", _PROGRAM, str(order), str(result)],
        env=_environment(scratch),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode in (_KILLED, -_KILLED):
        raise TooLargeError("the system ended a rehearsal with a few layers: not even these fit")
    if done.returncode == EXIT_USER_ERROR:
        raise UserError(done.stderr.rpartition("error: ")[2].strip())
    if done.returncode:
        raise RuntimeError(f"a rehearsal failed:\n{done.stderr}")
    return Taken(**parse_json(result, "rehearsal"))


def _environment(scratch: Path) -> Mapping[str, str]:
    """A cache of its own, and no tracking."""
    own = {"LLMCLF_CACHE": str(scratch / "cache"), "TORCHDYNAMO_DISABLE": "1"}
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | own
