"""Which rows go into which batch, and batches of token ids to tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_POOL_BATCHES = 32
"""Rows are sorted by length inside shuffled pools of this many batches: little padding, and an
order that stays random."""

PASS_ROWS = 16
"""Rows in a forward pass without gradients, in training steps."""

Rows = npt.NDArray[np.int64]


def epoch_batches(
    lengths: npt.NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[Rows]:
    """Random batches of rows of like length; every row once.

    A function of its arguments alone, so that a resumed epoch has the batches of the broken one.

    Args:
        lengths: tokens of each row, (n,).
        batch_size: rows in a batch; the last one may have fewer.
        seed: training seed.
        epoch: from 0.

    Returns:
        Arrays of row numbers, int64.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool = batch_size * _POOL_BATCHES
    batches: list[Rows] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths: npt.NDArray[np.int64], batch_size: int) -> list[Rows]:
    """Batches for prediction, longest first (memory is known to suffice after the first one)."""
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def pad(
    sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Right-pad token ids.

    Returns:
        ids and attention mask, both int64, (batch, longest).
    """
    longest = max(len(s) for s in sequences)
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.as_tensor(sequence)
        mask[i, : len(sequence)] = 1
    return ids.to(device), mask.to(device)
