"""Row counts and the scores that follow from them, for many resamples of the rows at once.

A score such as macro F1 depends on the rows only through sums over them. Resampling rows is then
a matrix product of row weights with row counts, which is what makes thousands of resamples cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from llmclf_core.evaluation.arrays import Indicators
from llmclf_core.progress import Ticker

Array = npt.NDArray[np.float64]
Score = Literal["accuracy", "micro_f1", "macro_f1", "weighted_f1"]
SCORES: tuple[Score, ...] = ("accuracy", "micro_f1", "macro_f1", "weighted_f1")

_CELLS = 1 << 22
"""Weights held at a time (32 MiB of float64)."""
_MANY_BLOCKS = 8
"""From here on it may take seconds, and progress is shown."""


def row_counts(truth: Indicators, predicted: Indicators) -> Array:
    """What each row adds to the totals of :func:`scores`.

    Returns:
        float64, shape (n, 3 * n_labels + 2): true positives, false positives and false negatives
        of each label, whether the row is wholly right, and 1.
    """
    right = (truth == predicted).all(axis=1, keepdims=True)
    parts = (truth & predicted, predicted & ~truth, truth & ~predicted, right)
    return np.hstack([*parts, np.ones_like(right)]).astype(np.float64)


def scores(totals: Array) -> dict[Score, Array]:
    """Scores from summed row counts.

    Macro F1 averages over the labels that occur in the summed rows, as true or as predicted, which
    is scikit-learn's rule for class ids; an F1 of 0/0 elsewhere counts as 0.

    Args:
        totals: shape (n_resamples, 3 * n_labels + 2), sums of :func:`row_counts`.

    Returns:
        For each score float64, shape (n_resamples,).
    """
    tp, fp, fn = np.split(totals[:, :-2], 3, axis=1)
    right, rows = totals[:, -2], totals[:, -1]
    f1 = _ratio(2 * tp, 2 * tp + fp + fn)
    occurs, support = tp + fp + fn > 0, tp + fn
    return {
        "accuracy": right / rows,
        "micro_f1": _ratio(2 * tp.sum(1), (2 * tp + fp + fn).sum(1)),
        "macro_f1": _ratio(f1.sum(1), occurs.sum(1)),
        "weighted_f1": _ratio((support * f1).sum(1), support.sum(1)),
    }


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(
        numerator, denominator, out=np.zeros(numerator.shape, np.float64), where=denominator > 0
    )


def resampled_scores(
    truth: Indicators, predictions: Sequence[Indicators], resamples: int, seed: int
) -> list[dict[Score, Array]]:
    """Scores of one or several predictions on the same bootstrap samples of the rows.

    Rows with equal truth and predictions are exchangeable, so how often each *kind* of row is
    drawn is multinomial; drawing kinds is exact and needs far less than drawing rows.

    Args:
        truth: shape (n, n_labels).
        predictions: each of the shape of ``truth``.
        resamples: number of bootstrap samples.
        seed: of the samples.

    Returns:
        For each prediction its scores, each of shape (resamples,).
    """
    packed = np.packbits(np.hstack([truth, *predictions]).astype(np.uint8), axis=1)
    _, first, sizes = np.unique(packed, axis=0, return_index=True, return_counts=True)
    # A row counts for few labels: sparse, 25 predictions of 20,000 rows and 60 labels take 30 MB.
    kinds = [csr_array(row_counts(truth[first], p[first]).T) for p in predictions]
    found: list[list[dict[Score, Array]]] = [[] for _ in predictions]
    for weights in _weights(sizes, resamples, seed):
        by_kind = np.ascontiguousarray(weights.T)
        for blocks, counts in zip(found, kinds, strict=True):
            blocks.append(scores((counts @ by_kind).T))
    return [
        {name: np.concatenate([b[name] for b in blocks]) for name in SCORES} for blocks in found
    ]


def _weights(sizes: npt.NDArray[np.intp], resamples: int, seed: int) -> Iterator[Array]:
    """Multinomial counts of the kinds of rows, in blocks of resamples."""
    rng = np.random.default_rng(seed)
    rows = int(sizes.sum())
    block = max(1, _CELLS // len(sizes))
    starts = range(0, resamples, block)
    long = len(starts) >= _MANY_BLOCKS
    with Ticker("bootstrap", resamples) if long else nullcontext() as ticker:
        for start in starts:
            size = min(block, resamples - start)
            yield rng.multinomial(rows, sizes / rows, size=size).astype(np.float64)
            if ticker is not None:
                ticker.update(size)
