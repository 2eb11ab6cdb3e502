"""The figures of one set of predictions: scores, per-label table, confusions, PR curves."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    hamming_loss,
    log_loss,
    multilabel_confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from llmclf_core.evaluation.arrays import Floats, Indicators
from llmclf_core.evaluation.calibration import calibration_error
from llmclf_core.labels import LabelSpace

MAX_CURVE_POINTS = 200


class LabelRow(TypedDict):
    """Figures of one label; counts of test rows."""

    label: str
    support: int
    predicted: int
    true_positives: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    threshold: float | None


class Curve(TypedDict):
    """A precision-recall curve, by rising recall."""

    recall: list[float]
    precision: list[float]
    average_precision: float


def compute_metrics(
    truth: Indicators,
    probabilities: Floats,
    predicted: Indicators,
    labels: LabelSpace,
    bins: int = 15,
) -> dict[str, float]:
    """Every scalar figure; the same names for every approach and both tasks.

    ``accuracy`` is the share of rows that are wholly right (subset accuracy when multi-label),
    ``hamming_loss`` the share of wrong yes/no decisions. Macro and weighted averages run over the
    labels that occur, as true or as predicted; 0/0 counts as 0. Average precision runs over the
    labels with a positive row and is left out when there is none. Further keys are those of
    :func:`probability_metrics`.

    Args:
        truth: shape (n, n_labels), n >= 1.
        probabilities: calibrated, the same shape.
        predicted: the same shape.
        labels: the label space.
        bins: of the calibration error.
    """
    figures = {
        "accuracy": float((truth == predicted).all(axis=1).mean()),
        "hamming_loss": float(hamming_loss(truth, predicted)),
    }
    occurring = np.flatnonzero((truth | predicted).any(axis=0))
    for average in ("micro", "macro", "weighted"):
        triple = precision_recall_fscore_support(
            truth,
            predicted,
            labels=occurring if len(occurring) else None,
            average=average,
            zero_division=0,
        )
        for name, value in zip(("precision", "recall", "f1"), triple, strict=False):
            figures[f"{average}_{name}"] = float(value)
    figures |= _average_precisions(truth, probabilities)
    return figures | probability_metrics(truth, probabilities, labels, bins)


def _average_precisions(truth: Indicators, probabilities: Floats) -> dict[str, float]:
    positive = truth.any(axis=0)
    if not positive.any():
        return {}
    return {
        f"{average}_average_precision": float(
            average_precision_score(truth[:, positive], probabilities[:, positive], average=average)
        )
        for average in ("micro", "macro")
    }


def probability_metrics(
    truth: Indicators, probabilities: Floats, labels: LabelSpace, bins: int = 15
) -> dict[str, float]:
    """``log_loss`` (nats), ``brier`` and ``calibration_error`` of probabilities.

    Single-label: log loss of the true label and the Brier score as first defined, the sum of
    squared errors over labels, in [0, 2] (Brier 1950). Multi-label: the mean of the yes/no log
    losses and of the squared errors (in [0, 1]) over rows and labels. Probabilities are kept at
    least one float32 step (1.2e-7) off 0 and 1 in the log loss, so that it stays finite.

    Args:
        truth: shape (n, n_labels), n >= 1.
        probabilities: the same shape.
        labels: the label space.
        bins: of the calibration error.
    """
    squared = (probabilities.astype(np.float64) - truth) ** 2
    if labels.task == "single":
        brier = squared.sum(axis=1).mean()
        loss = log_loss(truth.argmax(axis=1), probabilities, labels=range(len(labels)))
    else:
        brier = squared.mean()
        loss = log_loss(truth.ravel(), probabilities.ravel(), labels=[0, 1])
    return {
        "log_loss": float(loss),
        "brier": float(brier),
        "calibration_error": calibration_error(probabilities, truth, labels, bins),
    }


def per_label(
    truth: Indicators,
    probabilities: Floats,
    predicted: Indicators,
    labels: LabelSpace,
    thresholds: tuple[float, ...],
) -> list[LabelRow]:
    """The per-label table, in label order.

    Average precision is None for a label with no positive row, the threshold when single-label.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, average=None, zero_division=0
    )
    return [
        LabelRow(
            label=name,
            support=int(support[i]),
            predicted=int(predicted[:, i].sum()),
            true_positives=int((truth[:, i] & predicted[:, i]).sum()),
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            average_precision=_average_precision(truth[:, i], probabilities[:, i]),
            threshold=thresholds[i] if labels.task == "multi" else None,
        )
        for i, name in enumerate(labels.names)
    ]


def _average_precision(truth: npt.NDArray[Any], scores: Floats) -> float | None:
    return float(average_precision_score(truth, scores)) if truth.any() else None


def confusion(truth: Indicators, predicted: Indicators, labels: LabelSpace) -> npt.NDArray[np.intp]:
    """Counts of rows.

    Returns:
        Single-label: shape (n_labels, n_labels), true label by predicted label. Multi-label: shape
        (n_labels, 2, 2), for each label [[TN, FP], [FN, TP]].
    """
    matrix: npt.NDArray[np.intp]
    if labels.task == "multi":
        matrix = multilabel_confusion_matrix(truth, predicted)
    else:
        ids = range(len(labels))
        matrix = confusion_matrix(truth.argmax(axis=1), predicted.argmax(axis=1), labels=ids)
    return matrix


def pr_curves(truth: Indicators, probabilities: Floats, labels: LabelSpace) -> dict[str, Curve]:
    """Precision-recall curves of the labels that have a positive row, by label name."""
    return {
        name: pr_curve(truth[:, i], probabilities[:, i])
        for i, name in enumerate(labels.names)
        if truth[:, i].any()
    }


def pr_curve(truth: npt.NDArray[Any], scores: Floats) -> Curve:
    """One curve of at most 200 points; ``truth`` is 0/1 with a positive, shape as ``scores``."""
    precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
    keep = np.linspace(0, len(recall) - 1, min(len(recall), MAX_CURVE_POINTS)).round().astype(int)
    return Curve(
        recall=[round(float(x), 4) for x in recall[keep][::-1]],
        precision=[round(float(x), 4) for x in precision[keep][::-1]],
        average_precision=float(average_precision_score(truth.ravel(), scores.ravel())),
    )
