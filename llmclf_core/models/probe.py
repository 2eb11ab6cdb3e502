"""Logistic regression on frozen embeddings: a strong, cheap start for the head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler

from llmclf_core.labels import Task
from llmclf_core.models.regression import fit_regression

INVERSE_REGULARISATION = 0.1
"""scikit-learn's C on standardised embeddings; strong, since features may outnumber rows."""


def fit_probe(
    embeddings: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int8],
    task: Task,
    c: float = INVERSE_REGULARISATION,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fit logistic regression and express it on the raw embeddings.

    Args:
        embeddings: (n, hidden).
        truth: 0/1 matrix, (n, n_labels); one 1 a row when ``task`` is single.
        task: ``single`` (softmax) or ``multi`` (one sigmoid a label).
        c: inverse regularisation on standardised embeddings.

    Returns:
        weight (n_labels, hidden) and bias (n_labels,), float32:
        ``logits = embeddings @ weight.T + bias``.
    """
    scaler = StandardScaler().fit(embeddings)
    weight, bias = fit_regression(scaler.transform(embeddings), truth, task, c)
    # Fold the standardisation into the layer: w·(x-μ)/σ + b = (w/σ)·x + (b - w·μ/σ).
    weight = weight / scaler.scale_
    bias = bias - weight @ scaler.mean_
    return weight.astype(np.float32), bias.astype(np.float32)
