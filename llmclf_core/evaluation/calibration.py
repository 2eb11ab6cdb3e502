"""How well probabilities agree with observed frequencies."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from llmclf_core.evaluation.arrays import Floats, Indicators
from llmclf_core.labels import LabelSpace


class Bin(TypedDict):
    """One bin of a reliability diagram; confidence and accuracy are None when it is empty."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def calibration_error(
    probabilities: Floats, truth: Indicators, labels: LabelSpace, bins: int = 15
) -> float:
    """Expected calibration error with equal-width bins, in [0, 1].

    Single-label: of the top label (Guo et al. 2017, equation 3). Multi-label: of each label as a
    yes/no question, averaged over labels (Kull et al. 2019, arXiv 1910.12656).

    Args:
        probabilities: shape (n, n_labels), n >= 1.
        truth: the same shape.
        labels: the label space.
        bins: number of bins over [0, 1].
    """
    if labels.task == "single":
        return _gap(reliability(probabilities, truth, labels, bins))
    columns = zip(probabilities.T, truth.T, strict=True)
    return float(np.mean([_gap(_binned(p, t, bins)) for p, t in columns]))


def _gap(table: list[Bin]) -> float:
    rows = sum(b["count"] for b in table)
    return sum(
        b["count"] / rows * abs(b["accuracy"] - b["confidence"])
        for b in table
        if b["accuracy"] is not None and b["confidence"] is not None
    )


def reliability(
    probabilities: Floats, truth: Indicators, labels: LabelSpace, bins: int = 15
) -> list[Bin]:
    """The bins of a reliability diagram.

    Single-label: top-label confidence against whether it is right. Multi-label: every probability
    of every label against whether the row has the label.

    Args:
        probabilities: shape (n, n_labels).
        truth: the same shape.
        labels: the label space.
        bins: number of bins over [0, 1]; a bin holds its upper edge, the first one 0 as well.
    """
    if labels.task == "multi":
        return _binned(probabilities.ravel(), truth.ravel(), bins)
    top = probabilities.argmax(axis=1)
    rows = np.arange(len(top))
    return _binned(probabilities[rows, top], truth[rows, top], bins)


def _binned(confidence: Floats, right: npt.NDArray[Any], bins: int) -> list[Bin]:
    edges = np.linspace(0, 1, bins + 1)
    where = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(where, minlength=bins)
    sums = [np.bincount(where, weights, minlength=bins) for weights in (confidence, right)]
    return [
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            count=int(n),
            confidence=float(sums[0][i] / n) if n else None,
            accuracy=float(sums[1][i] / n) if n else None,
        )
        for i, n in enumerate(counts)
    ]
