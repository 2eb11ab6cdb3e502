"""Decision thresholds of multi-label classifiers."""

from __future__ import annotations

import numpy as np

from llmclf_core.evaluation.arrays import Floats, Indicators

DEFAULT = 0.5


def fit_thresholds(probabilities: Floats, truth: Indicators) -> tuple[float, ...]:
    """For each label the threshold with the highest F1 on these (validation) rows.

    The search is exact: F1 changes only where a row's probability is crossed, so one candidate
    halfway between each two neighbouring probabilities is enough (and one below the lowest).
    Halfway, because a probability that moves a little must not change sides. Of several best ones
    the nearest to 0.5 is taken.

    Args:
        probabilities: calibrated, shape (n, n_labels).
        truth: the same shape.

    Returns:
        One threshold in [0, 1] for each label; a row has the label when its probability is at
        least the threshold. 0.5 for a label with no positive row.
    """
    columns = zip(np.asarray(probabilities, np.float64).T, truth.T, strict=True)
    return tuple(_best(p, t.astype(bool)) for p, t in columns)


def _best(probabilities: Floats, truth: Floats) -> float:
    positives = int(truth.sum())
    if positives == 0:
        return DEFAULT
    values = np.unique(probabilities)
    candidates = (np.concatenate([[0.0], values[:-1]]) + values) / 2
    predicted = _at_least(probabilities, candidates)
    hits = _at_least(probabilities[truth], candidates)
    f1 = 2 * hits / (predicted + positives)
    best = candidates[f1 == f1.max()]
    return float(best[np.abs(best - DEFAULT).argmin()])


def _at_least(probabilities: Floats, candidates: Floats) -> Floats:
    """How many probabilities reach each candidate, shape (n_candidates,)."""
    below = np.searchsorted(np.sort(probabilities), candidates, side="left")
    return (len(probabilities) - below).astype(np.float64)
