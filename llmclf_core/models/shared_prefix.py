"""Rows that begin alike, read as one sequence in which their common prefix stands once.

    prefix │ row 1 │ row 2 │ … │ row n

What a layer does to each token alone, and that is nearly all its work, it does once for the prefix
and without padding. Only attention is taken apart: the prefix attends to itself, and each row to
the prefix and to itself. Causal attention never looks ahead, so the prefix has the keys and values
that it has in front of every row, and the gradient of each row flows back through them.

Losses and gradients are those of whole rows but for rounding. With dropout they are so on average:
one mask is drawn for the prefix, not one a row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from llmclf_core.models.attention import BLOCKED, attend
from llmclf_core.models.causal import SHARED_PREFIX, plain_attention
from llmclf_core.models.last_layer import at_places, only_read_at
from llmclf_core.models.plain_scoring import answer_losses
from llmclf_core.processes import device

log = logging.getLogger(__name__)

Sequences = Sequence[Sequence[int]]

_TOLERANCE = 0.05
"""Of the largest loss: bfloat16 rounds, while a wrong attention is far off."""


@contextmanager
def shared_prefix(model: Any, ids: Sequence[int]) -> Iterator[SharedPrefix | None]:
    """Inside, the model takes rows behind one prefix, and any other input as ever.

    The backward pass belongs inside too: gradient checkpointing computes layers again.

    Args:
        model: a causal language model, with or without an adapter.
        ids: token ids that all rows begin with.

    Yields:
        The prefix, or None when the model has to read whole rows; the log says why.
    """
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    shared = SharedPrefix(ids)
    if reason := _hindrance(plain, ids) or _failure(model, plain, shared):
        log.info("every row's pass begins with the whole prompt: %s", reason)
        yield None
        return
    with _replaced_attention(plain):
        yield shared


def _hindrance(model: Any, ids: Sequence[int]) -> str | None:
    if not ids:
        return "nothing stands before the text"
    if not plain_attention(model):
        return "the model's attention depends on more than a mask"
    known = model.config._attn_implementation in ("sdpa", BLOCKED)
    if not known or not model.is_backend_compatible():
        return "the model's attention is not sdpa, or cannot be replaced"
    return None


@torch.no_grad()
def _failure(model: Any, plain: Any, shared: SharedPrefix) -> str | None:
    """Some models do not hand on what their attention is to know; so try it."""
    ids, training = shared.ids, model.training
    contexts, answers = [ids[:4], ids[-1:]], [ids[-2:], ids[:1]]
    model.eval()
    try:
        whole = answer_losses(model, [[*ids, *context] for context in contexts], answers, ids[0])
        with _replaced_attention(plain):
            difference = shared.answer_losses(model, contexts, answers) - whole
    except (RuntimeError, TypeError, ValueError) as error:
        return f"the model does not take it apart ({error})"
    finally:
        model.train(training)
    if not difference.abs().max() <= _TOLERANCE * whole.abs().max():
        return "the model reads rows otherwise when their prefix is shared"
    return None


@contextmanager
def _replaced_attention(model: Any) -> Iterator[None]:
    own = model.config._attn_implementation
    AttentionInterface.register(SHARED_PREFIX, _attention)
    AttentionMaskInterface.register(SHARED_PREFIX, sdpa_mask)
    model.set_attn_implementation(SHARED_PREFIX)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


class SharedPrefix:
    """The tokens that all rows begin with."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = tuple(ids)

    def inputs(self, rows: Sequences) -> dict[str, Any]:
        """Arguments of the model's forward pass over the prefix and what follows it in each row.

        Args:
            rows: token ids without the prefix, none empty.
        """
        layout = self.layout(rows)
        n, longest = layout.prefix, max(layout.rows)
        positions = chain(range(n), *(range(n, n + length) for length in layout.rows))
        sees = torch.ones(longest, n + longest, dtype=torch.bool, device=device()).tril(n)
        return {
            "input_ids": torch.tensor([[*self.ids, *chain(*rows)]], device=device()),
            "position_ids": torch.tensor([list(positions)], device=device()),
            # Transformers hands a mask of four dimensions to the attention as it is.
            "attention_mask": sees[None, None],
            "use_cache": False,
            "layout": layout,
        }

    def layout(self, rows: Sequences) -> Layout:
        """Where they stand in such a pass."""
        return Layout(len(self.ids), tuple(map(len, rows)))

    def answer_losses(self, model: Any, contexts: Sequences, answers: Sequences) -> Tensor:
        """As :func:`llmclf_core.models.plain_scoring.answer_losses`, in one pass.

        Args:
            model: what :func:`shared_prefix` was given, perhaps wrapped by Accelerate.
            contexts: token ids without the prefix, n of them, none empty.
            answers: token ids of each context's answer, none empty.
        """
        rows = [[*context, *answer] for context, answer in zip(contexts, answers, strict=True)]
        ends = accumulate(map(len, rows), initial=len(self.ids))
        first = (end + len(context) - 1 for end, context in zip(ends, contexts, strict=False))
        places = chain(*(range(at, at + len(a)) for at, a in zip(first, answers, strict=True)))
        keep = torch.tensor(list(places), device=device())
        inputs = self.inputs(rows)
        with only_read_at(at_places(keep.unsqueeze(0), inputs["input_ids"].shape[1])):
            logits = model(**inputs, logits_to_keep=keep).logits[0]
        wanted = torch.tensor(list(chain(*answers)), device=device())
        losses = cross_entropy(logits.float(), wanted, reduction="none")
        by_row = torch.split(losses, [len(a) for a in answers])
        return pad_sequence(list(by_row), batch_first=True)


@dataclass(frozen=True)
class Layout:
    """What stands where in the sequence.

    Attributes:
        prefix: tokens of the prefix.
        rows: tokens of each row behind it, n of them.
    """

    prefix: int
    rows: tuple[int, ...]

    def rows_of(self, states: Tensor) -> Tensor:
        """(…, length, width) to the rows alone, (n, …, longest, width), zero behind their ends."""
        parts = torch.split(states[..., self.prefix :, :], list(self.rows), dim=-2)
        longest = max(self.rows)
        return torch.stack([pad(part, (0, 0, 0, longest - part.shape[-2])) for part in parts])

    def sequence(self, prefix: Tensor, rows: Tensor) -> Tensor:
        """(1, prefix, …) and (n, longest, …) to (1, length, …)."""
        own = (row[:length] for row, length in zip(rows, self.rows, strict=True))
        return torch.cat([prefix[0], *own]).unsqueeze(0)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' ``sdpa``, taken apart by a layout.

    Args:
        module: the attention layer.
        query: (1, heads, length, width).
        key: (1, key heads, length, width).
        value: like keys.
        attention_mask: which keys a row's queries see, (1, 1, longest, prefix + longest).
        layout: None for any other input, which is treated as ever.
        **kwargs: dropout, scaling and so on.

    Returns:
        (1, length, heads, width), and no weights.
    """
    if layout is None:
        return attend(module, query, key, value, attention_mask, **kwargs)
    shared = [states[:, :, : layout.prefix] for states in (query, key, value)]
    own = [layout.rows_of(states[0]) for states in (query, key, value)]
    keys, values = (
        torch.cat([before.expand(len(rows), -1, -1, -1), rows], 2)
        for before, rows in zip(shared[1:], own[1:], strict=True)
    )
    query, key, value = shared
    prefix, _ = attend(module, query, key, value, None, **kwargs)
    rows, _ = attend(module, own[0], keys, values, attention_mask, ends=True, **kwargs)
    return layout.sequence(prefix, rows), None
