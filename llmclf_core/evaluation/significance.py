"""Whether two classifiers differ on the same rows by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from llmclf_core.evaluation.arrays import Floats, Indicators
from llmclf_core.evaluation.counts import Score, resampled_scores, row_counts, scores


class Difference(NamedTuple):
    """Score of a minus score of b, with its interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


def mcnemar_midp(
    a_correct: npt.NDArray[Any] | Sequence[bool], b_correct: npt.NDArray[Any] | Sequence[bool]
) -> float:
    """Two-sided mid-p of McNemar's test (Fagerland, Lydersen and Laake 2013, doi
    10.1186/1471-2288-13-91).

    Args:
        a_correct: whether the first classifier is right, shape (n,), 0/1 or bool.
        b_correct: the same for the second, on the same rows.

    Returns:
        The p-value of "both are right equally often"; 1 when they never differ.
    """
    a, b = np.asarray(a_correct, bool), np.asarray(b_correct, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    fewer, discordant = min(only_a, only_b), only_a + only_b
    if discordant == 0:
        return 1.0
    point = float(binom.pmf(fewer, discordant, 0.5))
    if only_a == only_b:
        return 1 - point / 2
    return float(2 * binom.cdf(fewer, discordant, 0.5)) - point


def paired_bootstrap(
    truth: Indicators,
    predicted_a: Indicators,
    predicted_b: Indicators,
    metric: Score = "macro_f1",
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Difference of a score on the same resampled rows, single- or multi-label.

    Percentile interval, and the p-value that goes with it: twice the smaller share of samples on
    either side of zero, observed data counted in (Davison and Hinkley 1997, equation 4.11).

    Args:
        truth: shape (n, n_labels).
        predicted_a: the same shape.
        predicted_b: the same shape and rows.
        metric: one of :data:`llmclf_core.evaluation.counts.SCORES`.
        resamples: number of bootstrap samples.
        confidence: coverage of the interval, in (0, 1).
        seed: of the samples.
    """
    pair = (predicted_a, predicted_b)
    a, b = (scores(row_counts(truth, p).sum(0, keepdims=True))[metric][0] for p in pair)
    sampled_a, sampled_b = resampled_scores(truth, pair, resamples, seed)
    return difference_of(float(a - b), sampled_a[metric] - sampled_b[metric], confidence)


def difference_of(observed: float, sampled: Floats, confidence: float) -> Difference:
    """Interval and p-value as :func:`paired_bootstrap` defines them.

    Args:
        observed: the difference.
        sampled: it in each bootstrap sample, shape (resamples,).
        confidence: coverage of the interval, in (0, 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(sampled, [tail, 1 - tail])
    beyond = min(int((sampled <= 0).sum()), int((sampled >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(sampled) + 1))
    return Difference(observed, float(low), float(high), p)


def combined_p(p_values: Sequence[float]) -> float:
    """One p-value from several of the same hypothesis, whatever their dependence.

    Twice the median (Rüger 1978; Meinshausen, Meier and Bühlmann 2009, doi
    10.1198/jasa.2009.tm08647), at most 1; a single one stays as it is.
    """
    if len(p_values) == 1:
        return p_values[0]
    return min(1.0, 2 * float(np.median(p_values)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for testing several pairs (Holm 1979), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(value) for value in adjusted]
