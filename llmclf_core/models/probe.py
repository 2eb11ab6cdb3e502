"""Logistic regression on frozen embeddings: a strong, cheap start for the head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from llmclf_core.labels import Task

INVERSE_REGULARISATION = 0.1
"""scikit-learn's C on standardised embeddings; strong, since features may outnumber rows."""


def fit_probe(
    embeddings: npt.NDArray[np.float32], truth: npt.NDArray[np.int8], task: Task
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fit logistic regression and express it on the raw embeddings.

    Args:
        embeddings: (n, hidden).
        truth: 0/1 matrix, (n, n_labels); one 1 a row when ``task`` is single.
        task: ``single`` (softmax) or ``multi`` (one sigmoid a label).

    Returns:
        weight (n_labels, hidden) and bias (n_labels,), float32:
        ``logits = embeddings @ weight.T + bias``.
    """
    scaler = StandardScaler().fit(embeddings)
    x = scaler.transform(embeddings)
    weight, bias = _softmax(x, truth) if task == "single" else _sigmoids(x, truth)
    # Fold the standardisation into the layer: w·(x-μ)/σ + b = (w/σ)·x + (b - w·μ/σ).
    weight = weight / scaler.scale_
    bias = bias - weight @ scaler.mean_
    return weight.astype(np.float32), bias.astype(np.float32)


def _softmax(
    x: npt.NDArray[np.float64], truth: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    present = np.flatnonzero(truth.any(axis=0))
    if len(present) == 1:
        return np.zeros((truth.shape[1], x.shape[1])), np.where(truth.any(axis=0), 0.0, -10.0)
    model = _regression().fit(x, truth.argmax(axis=1))
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:  # one row for two classes: split it over both logits
        coefficients = np.vstack([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    weight = np.zeros((truth.shape[1], x.shape[1]))
    # A label without a training row must not win by default.
    bias = np.full(truth.shape[1], intercepts.min() - 10.0)
    weight[present], bias[present] = coefficients, intercepts
    return weight, bias


def _sigmoids(
    x: npt.NDArray[np.float64], truth: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    n, n_labels = truth.shape
    weight, bias = np.zeros((n_labels, x.shape[1])), np.zeros(n_labels)
    for label in range(n_labels):
        positives = int(truth[:, label].sum())
        if 0 < positives < n:
            model = _regression().fit(x, truth[:, label])
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
        else:  # smoothed log-odds of a label that all rows or none have
            bias[label] = np.log((positives + 0.5) / (n - positives + 0.5))
    return weight, bias


def _regression() -> LogisticRegression:
    return LogisticRegression(C=INVERSE_REGULARISATION, max_iter=2000)
