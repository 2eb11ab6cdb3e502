"""Logistic regression over dense or sparse features, as one weight row for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from llmclf_core.labels import Task

Array = npt.NDArray[np.float64]

_ABSENT = 10.0


def fit_regression(
    x: Any, truth: npt.NDArray[np.int8], task: Task, c: float
) -> tuple[Array, Array]:
    """Fit softmax regression (single-label) or one sigmoid for each label (multi-label).

    A label without training rows never wins: it lies far below all others (single-label), or has
    the smoothed log-odds of its count (multi-label).

    Args:
        x: (n, features), a dense array or a SciPy CSR matrix.
        truth: 0/1 matrix, (n, n_labels); one 1 a row when single-label.
        task: single or multi.
        c: inverse regularisation, scikit-learn's C.

    Returns:
        weight (n_labels, features) and bias (n_labels,): ``logits = x @ weight.T + bias``.
    """
    return _softmax(x, truth, c) if task == "single" else _sigmoids(x, truth, c)


def _softmax(x: Any, truth: npt.NDArray[np.int8], c: float) -> tuple[Array, Array]:
    n_labels = truth.shape[1]
    present = np.flatnonzero(truth.any(axis=0))
    weight = np.zeros((n_labels, x.shape[1]))
    if len(present) == 1:
        return weight, np.where(truth.any(axis=0), 0.0, -_ABSENT)
    model = _regression(c).fit(x, truth.argmax(axis=1))
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:  # one row for two classes: split it over both logits
        coefficients = np.vstack([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    bias = np.full(n_labels, intercepts.min() - _ABSENT)
    weight[present], bias[present] = coefficients, intercepts
    return weight, bias


def _sigmoids(x: Any, truth: npt.NDArray[np.int8], c: float) -> tuple[Array, Array]:
    n, n_labels = truth.shape
    weight, bias = np.zeros((n_labels, x.shape[1])), np.zeros(n_labels)
    for label in range(n_labels):
        positives = int(truth[:, label].sum())
        if 0 < positives < n:
            model = _regression(c).fit(x, truth[:, label])
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
        else:
            bias[label] = np.log((positives + 0.5) / (n - positives + 0.5))
    return weight, bias


def _regression(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=2000)
