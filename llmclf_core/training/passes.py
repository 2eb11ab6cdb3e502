"""Which rows of an optimiser step a forward pass reads together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llmclf_core.config import TrainingConfig
from llmclf_core.processes import on_cpu
from llmclf_core.tokens.batching import Rows

_CPU_TOKEN_BYTES = 4096
"""Tokens times the size of a number. What lies between layers then fits into a processor's caches.
Measured with SmolLM2-135M on two cores, rows of 480 tokens, in tokens/s: float32 without AVX-512,
8, 4, 2 and 1 rows a pass, 111, 135, 159 and 142; bfloat16 of the hardware, 8, 4 and 2 rows a pass,
893, 885 and 802."""

_PREFIXES = 4
"""Tokens that are read once a pass are dear in a small one: so many times as many may follow."""


def token_limit(training: TrainingConfig, shared: int = 0, itemsize: int = 4) -> int | None:
    """Most tokens in a forward pass of more than one row; None: whole batches.

    Args:
        training: the loop.
        shared: tokens that all rows begin with and a pass reads once.
        itemsize: bytes of a number in hidden states.
    """
    if training.pass_tokens is not None:
        return training.pass_tokens
    return _CPU_TOKEN_BYTES // itemsize + _PREFIXES * shared if on_cpu() else None


def passes(
    batches: Sequence[Rows], lengths: npt.NDArray[np.int64], limit: int | None, shared: int = 0
) -> list[Rows]:
    """Rows of several batches in forward passes, whose gradients add up to the same.

    Args:
        batches: row numbers, at least one.
        lengths: tokens of each row, (n,).
        limit: most tokens in a pass of more than one row; None leaves the batches as they are.
        shared: as for :func:`token_limit`; 0: rows are padded to the longest of their pass.

    Returns:
        Row numbers of each pass, rows of like length together, the longest first.
    """
    if limit is None:
        return list(batches)
    rows = np.concatenate(batches)
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    found: list[list[int]] = [[]]
    for row in rows.tolist():
        if found[-1] and _tokens(lengths[[*found[-1], row]], shared) > limit:
            found.append([])
        found[-1].append(row)
    return [np.array(each, dtype=np.int64) for each in found]


def _tokens(lengths: npt.NDArray[np.int64], shared: int) -> int:
    """Of a pass over rows of these lengths, padding included."""
    if shared:
        return int(shared + (lengths - shared).sum())
    return int(len(lengths) * lengths.max())
