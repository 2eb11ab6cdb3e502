"""Losses over rows of logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from llmclf_core.config import TrainingConfig
from llmclf_core.labels import Task


def row_losses(
    logits: Tensor, truth: Tensor, task: Task, config: TrainingConfig, weights: Tensor | None
) -> Tensor:
    """Loss of each row.

    Single-label: cross-entropy of the true label, times that label's weight. Multi-label: the mean
    over labels of binary cross-entropy, positive terms times the label's weight. ``focal``
    multiplies each term by (1 - p)^gamma, p being the probability given to the truth
    (arXiv 1708.02002).

    Args:
        logits: (batch, n_labels), float32.
        truth: 0/1, (batch, n_labels), float32; one 1 a row when single-label.
        task: single or multi.
        config: loss and gamma.
        weights: (n_labels,), or None for 1.

    Returns:
        (batch,), float32.
    """
    gamma = config.focal_gamma if config.loss == "focal" else 0.0
    if task == "single":
        log_p = (logits.log_softmax(1) * truth).sum(1)
        weight = 1.0 if weights is None else truth @ weights
        return -weight * _focus(log_p, gamma) * log_p
    log_p = F.logsigmoid(logits * (2 * truth - 1))
    weight = 1.0 if weights is None else 1 + truth * (weights - 1)
    return -(weight * _focus(log_p, gamma) * log_p).mean(1)


def _focus(log_p: Tensor, gamma: float) -> Tensor | float:
    # -expm1 keeps precision where p is near 1; the clamp keeps the gradient of 0^gamma finite.
    return (-torch.expm1(log_p)).clamp(min=1e-8) ** gamma if gamma else 1.0


def balanced_weights(truth: npt.NDArray[np.int8], task: Task) -> Tensor:
    """Label weights inversely proportional to frequency in the training rows.

    Single-label: n / (n_labels × count), scikit-learn's ``balanced``. Multi-label: negatives over
    positives, at most 100 so that a rare label does not drown the rest.

    Args:
        truth: 0/1 matrix, (n, n_labels).
        task: single or multi.

    Returns:
        (n_labels,), float32.
    """
    n, n_labels = truth.shape
    counts = np.maximum(truth.sum(axis=0, dtype=np.int64), 1)
    weights = (
        n / (n_labels * counts) if task == "single" else np.minimum((n - counts) / counts, 100)
    )
    return torch.as_tensor(weights, dtype=torch.float32)
