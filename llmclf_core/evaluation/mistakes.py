"""The rows that the classifier got wrong most confidently."""

from __future__ import annotations

from typing import TypedDict

import datasets
import numpy as np

from llmclf_core.artifacts import Predictions

MAX_MISTAKES = 20
MAX_EXCERPT = 300


class Mistake(TypedDict):
    """A wrong row. ``confidence`` is that of its most confident wrong decision, in [0, 1]."""

    id: str
    excerpt: str
    truth: list[str]
    predicted: list[str]
    confidence: float


def worst_mistakes(
    predictions: Predictions, rows: datasets.Dataset, limit: int = MAX_MISTAKES
) -> list[Mistake]:
    """The most confidently wrong rows, worst first; fewer when fewer are wrong.

    Single-label: by the probability of the wrong label that was chosen. Multi-label: by the
    surest wrong decision, ``p`` of a label given wrongly or ``1 - p`` of one that was missed.

    Args:
        predictions: of all ``rows``, in their order.
        rows: with columns ``id`` and ``text``.
        limit: the most rows to give.
    """
    wrong = predictions.truth != predictions.predicted
    sure = np.where(predictions.predicted == 1, predictions.probabilities, 0.0)
    if predictions.labels.task == "multi":
        sure = np.where(predictions.predicted == 1, sure, 1 - predictions.probabilities)
    confidence = np.where(wrong, sure, -1.0).max(axis=1)
    order = np.argsort(-confidence, kind="stable")[: min(limit, int(wrong.any(axis=1).sum()))]
    return [_mistake(predictions, rows, int(i), float(confidence[i])) for i in order]


def _mistake(
    predictions: Predictions, rows: datasets.Dataset, row: int, confidence: float
) -> Mistake:
    decode = predictions.labels.decode
    return Mistake(
        id=predictions.ids[row],
        excerpt=excerpt(rows[row]["text"]),
        truth=decode(np.flatnonzero(predictions.truth[row])),
        predicted=decode(np.flatnonzero(predictions.predicted[row])),
        confidence=confidence,
    )


def excerpt(text: str) -> str:
    """The beginning of a text on one line, at most :data:`MAX_EXCERPT` characters."""
    # Four times the excerpt is enough even for text that is mostly spaces, and keeps it cheap.
    line = " ".join(text[: 4 * MAX_EXCERPT].split())
    cut = len(line) > MAX_EXCERPT or len(text) > 4 * MAX_EXCERPT
    return line[: MAX_EXCERPT - 1] + "…" if cut else line
