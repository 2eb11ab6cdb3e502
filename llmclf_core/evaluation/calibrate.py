"""Fit how logits become probabilities and decisions, on validation rows only."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from llmclf_core.approaches.base import Calibration
from llmclf_core.evaluation.arrays import Floats, Indicators
from llmclf_core.evaluation.thresholds import fit_thresholds
from llmclf_core.labels import LabelSpace

TEMPERATURE_BOUNDS = (0.01, 100.0)
"""Temperatures are searched here; a fit outside it says that the logits are worthless."""


def fit_calibration(logits: Floats, truth: Indicators, labels: LabelSpace) -> Calibration:
    """Temperature, then (multi-label) thresholds on the calibrated probabilities.

    Args:
        logits: of the validation rows, shape (n, n_labels).
        truth: the same shape.
        labels: the label space.
    """
    plain = Calibration(fit_temperature(logits, truth, labels), (0.5,) * len(labels))
    if labels.task == "single":
        return plain
    probabilities = plain.probabilities(np.asarray(logits, np.float32), labels)
    return Calibration(plain.temperature, fit_thresholds(probabilities, truth))


def fit_temperature(logits: Floats, truth: Indicators, labels: LabelSpace) -> float:
    """The temperature with the lowest negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    The targets are smoothed by one pseudo-row (Platt 1999: n right rows of n speak for a
    confidence of (n + 1) / (n + 2), not of 1). Without it, rows that are all right would drive the
    temperature to zero and the classifier to boundless confidence.

    Args:
        logits: of the validation rows, shape (n, n_labels).
        truth: the same shape.
        labels: the label space; softmax when single-label, sigmoid when multi-label.

    Returns:
        A temperature within :data:`TEMPERATURE_BOUNDS`; 1 for no rows, or when no temperature is
        better than 1.
    """
    if len(logits) == 0:
        return 1.0
    scores = np.asarray(logits, np.float64)
    likelihood = _sigmoid_nll if labels.task == "multi" else _softmax_nll

    def loss(log_temperature: float) -> float:
        return likelihood(scores / math.exp(log_temperature), truth)

    low, high = (math.log(bound) for bound in TEMPERATURE_BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < loss(0.0) - 1e-12 else 1.0


def _softmax_nll(scores: Floats, truth: Indicators) -> float:
    rows, n_labels = truth.shape
    off = 1 / (rows + 2) / (n_labels - 1)
    targets = np.where(truth == 1, (rows + 1) / (rows + 2), off)
    return float(-(targets * log_softmax(scores, axis=1)).sum() / rows)


def _sigmoid_nll(scores: Floats, truth: Indicators) -> float:
    positives = int(truth.sum())
    negatives = truth.size - positives
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    terms = targets * log_expit(scores) + (1 - targets) * log_expit(-scores)
    return float(-terms.mean())
