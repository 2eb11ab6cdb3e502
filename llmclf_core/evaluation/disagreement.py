"""Where classifiers disagree: which of them are right on which rows, and the most disputed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmclf_core.artifacts import Predictions
from llmclf_core.evaluation.samerows import right_rows

MAX_DISPUTED = 20


@dataclass(frozen=True)
class Pattern:
    """Rows that the same classifiers get right; ``right`` has one entry a classifier."""

    right: tuple[bool, ...]
    rows: int


@dataclass(frozen=True)
class Disputed:
    """A row on which they differ; ``answers`` has one list of labels a classifier."""

    id: str
    truth: list[str]
    answers: list[list[str]]


def patterns(predictions: Sequence[Predictions]) -> list[Pattern]:
    """Every combination of right and wrong that occurs, the commonest first.

    Args:
        predictions: of the same rows in the same order, one a classifier.
    """
    right = np.stack([right_rows(p) for p in predictions], axis=1)
    kinds, counts = np.unique(right, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Pattern(tuple(map(bool, kinds[i])), int(counts[i])) for i in order]


def disputed(predictions: Sequence[Predictions], limit: int = MAX_DISPUTED) -> list[Disputed]:
    """The rows with the most disagreement: yes/no decisions in which two classifiers differ.

    Of equals, those where the classifiers are surest come first (mean over their most certain
    label).

    Args:
        predictions: as :func:`patterns` takes them.
        limit: the most rows to give.
    """
    votes = sum(p.predicted.astype(np.int64) for p in predictions)
    differing = np.asarray(votes * (len(predictions) - votes)).sum(axis=1)
    sure = np.mean([p.probabilities.max(axis=1) for p in predictions], axis=0)
    order = np.lexsort((-sure, -differing))[: min(limit, int((differing > 0).sum()))]
    return [_disputed(predictions, int(row)) for row in order]


def _disputed(predictions: Sequence[Predictions], row: int) -> Disputed:
    first = predictions[0]
    decode = first.labels.decode
    return Disputed(
        id=first.ids[row],
        truth=decode(np.flatnonzero(first.truth[row])),
        answers=[decode(np.flatnonzero(p.predicted[row])) for p in predictions],
    )
