"""Frozen embeddings of token sequences, written as they come so that a kill loses little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from llmclf_core.errors import explain_os_errors
from llmclf_core.models.head import HeadModel
from llmclf_core.processes import device
from llmclf_core.progress import Ticker
from llmclf_core.tokens.batching import Rows, pad, sorted_batches


@torch.inference_mode()
def pooled_embeddings(
    model: HeadModel,
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int,
    store: Path,
    tick: Callable[[], None] = lambda: None,
    around: Callable[[Rows], AbstractContextManager[None]] = lambda rows: nullcontext(),
) -> npt.NDArray[np.float32]:
    """Pooled hidden states of every sequence, before the head.

    Rows not yet embedded are NaN in the store, so a broken run goes on where it was.

    Args:
        model: backbone and head (only its pooling is used).
        sequences: token ids, n of them.
        pad_id: fills batches.
        batch_size: sequences in a forward pass.
        store: a ``.npy`` file, memory-mapped; made when it does not exist.
        tick: called after each batch.
        around: entered for each forward pass, given the numbers of its sequences.

    Returns:
        float32, (n, hidden).

    Raises:
        UserError: when the store cannot be written.
    """
    width = model.head.out.in_features
    embeddings = _open(store, (len(sequences), width))
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    batches = sorted_batches(lengths, batch_size)
    model.eval()
    with Ticker("embed", len(sequences)) as ticker:
        for rows in batches:
            if np.isnan(embeddings[rows]).any():
                ids, mask = pad([sequences[i] for i in rows], pad_id, device())
                with around(rows):
                    hidden = model.hidden_states(ids, mask).float()
                embeddings[rows] = model.head.pooling(hidden, mask).cpu().numpy()
            ticker.update(len(rows))
            tick()
    return np.array(embeddings)


def _open(store: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    if store.exists():
        return np.lib.format.open_memmap(store, mode="r+")
    draft = store.with_suffix(".draft")
    with explain_os_errors(store):
        store.parent.mkdir(parents=True, exist_ok=True)
        # Written out in full: a memory map over a hole ends the process when the disk is full.
        with draft.open("wb") as file:
            np.save(file, np.full(shape, np.nan, dtype=np.float32))
        draft.rename(store)
    return np.lib.format.open_memmap(store, mode="r+")
