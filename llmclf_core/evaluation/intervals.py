"""Bootstrap confidence intervals of the test scores."""

from __future__ import annotations

import numpy as np

from llmclf_core.evaluation.arrays import Indicators
from llmclf_core.evaluation.counts import resampled_scores


def bootstrap_intervals(
    truth: Indicators,
    predicted: Indicators,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals over resampled rows (Efron and Tibshirani 1993, section 13.3).

    They say how far the figures may lie off because the test rows are a sample. They do not cover
    the variation between training seeds.

    Args:
        truth: shape (n, n_labels), n >= 1.
        predicted: the same shape.
        resamples: number of bootstrap samples.
        confidence: the share of samples inside an interval, in (0, 1).
        seed: of the samples.

    Returns:
        ``accuracy``, ``micro_f1``, ``macro_f1`` and ``weighted_f1`` to (low, high).
    """
    (sampled,) = resampled_scores(truth, [predicted], resamples, seed)
    tail = (1 - confidence) / 2
    bounds = {name: np.quantile(values, [tail, 1 - tail]) for name, values in sampled.items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
