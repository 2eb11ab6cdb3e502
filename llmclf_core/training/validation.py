"""The validation metrics that choose the best checkpoint."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llmclf_core.approaches.base import Calibration
from llmclf_core.evaluation.counts import row_counts, scores
from llmclf_core.evaluation.thresholds import fit_thresholds
from llmclf_core.labels import LabelSpace


def validation_metrics(
    logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int8], labels: LabelSpace
) -> dict[str, float]:
    """Macro and micro F1, as evaluation counts them, and the log loss on validation rows.

    Multi-label F1 is taken at thresholds fitted on these same rows, as the finished classifier
    will have them: at 0.5 an early checkpoint may predict nothing and all look alike.

    Args:
        logits: (n, n_labels).
        truth: 0/1 matrix, (n, n_labels).
        labels: the label space.
    """
    calibration = Calibration.none(len(labels))
    probabilities = calibration.probabilities(logits, labels)
    if labels.task == "multi":
        calibration = Calibration(1.0, fit_thresholds(probabilities, truth))
    predicted = calibration.decide(probabilities, labels)
    figures = scores(row_counts(truth, predicted).sum(axis=0, keepdims=True))
    return {
        "macro_f1": float(figures["macro_f1"][0]),
        "micro_f1": float(figures["micro_f1"][0]),
        "loss": _log_loss(probabilities, truth, labels),
    }


def _log_loss(
    probabilities: npt.NDArray[np.float32], truth: npt.NDArray[np.int8], labels: LabelSpace
) -> float:
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    given = np.where(truth == 1, np.log(p), np.log1p(-p))
    return float(-given[truth == 1].mean() if labels.task == "single" else -given.mean())
