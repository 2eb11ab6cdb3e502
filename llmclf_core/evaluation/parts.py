"""What the pages show of one evaluation, ready for their templates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.metrics import Curve
from llmclf_core.evaluation.names import percent
from llmclf_core.evaluation.plots import curve_svg, reliability_svg

MAX_MATRIX = 20
"""With more labels the matrix is left out and only the commonest confusions are listed."""
MAX_CONFUSIONS = 15

_PROBABILITY = {
    "calibration_error": "Calibration error",
    "log_loss": "Log loss",
    "brier": "Brier score",
}


def render_template(name: str, **values: Any) -> str:
    """A template of this package, filled in; text is escaped."""
    environment = Environment(
        loader=PackageLoader("llmclf_core.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template(name).render(values)


@dataclass(frozen=True)
class Parts:
    """Plots and tables of one evaluation.

    Attributes:
        calibration: title, and the figure before and after temperature scaling.
        diagrams: titles and reliability diagrams, before and after.
        curves: title, average precision and plot; all labels together, then the commonest labels.
        labels_with_curve: how many labels have one.
        matrix: rows of the confusion matrix with each cell's share of its row; empty when not
            shown.
        confusions: the commonest (true, predicted, rows) off the diagonal; single-label only.
        counts: (label, TP, FP, FN, TN) of each label; multi-label only.
    """

    calibration: list[tuple[str, float, float]]
    diagrams: list[tuple[str, Markup]]
    curves: list[tuple[str, float, Markup]]
    labels_with_curve: int
    matrix: list[dict[str, Any]]
    confusions: list[tuple[str, str, int]]
    counts: list[tuple[str, int, int, int, int]]


def parts_of(evaluation: Evaluation, max_curves: int, of: str = "") -> Parts:
    """Draw them.

    Args:
        evaluation: the evaluation.
        max_curves: the most labels that get a precision-recall curve.
        of: whose they are, for the descriptions on a page with several (`` of the encoder``).
    """
    return Parts(
        calibration=[
            (title, evaluation.metrics[f"uncalibrated_{name}"], evaluation.metrics[name])
            for name, title in _PROBABILITY.items()
        ],
        diagrams=_diagrams(evaluation, of),
        curves=_curves(evaluation, max_curves, of),
        labels_with_curve=len(evaluation.curves),
        matrix=_matrix(evaluation),
        confusions=_confusions(evaluation),
        counts=_counts(evaluation),
    )


def _diagrams(evaluation: Evaluation, of: str) -> list[tuple[str, Markup]]:
    result = []
    for when in ("before", "after"):
        prefix = "uncalibrated_" if when == "before" else ""
        error = evaluation.metrics[f"{prefix}calibration_error"]
        title = f"{when} temperature scaling"
        alt = (
            f"Reliability diagram{of} {title}: observed frequency against confidence; "
            f"calibration error {error:.3f}"
        )
        result.append((title.capitalize(), reliability_svg(evaluation.reliability[when], alt)))
    return result


def _curves(evaluation: Evaluation, limit: int, of: str) -> list[tuple[str, float, Markup]]:
    support = {row["label"]: row["support"] for row in evaluation.per_label}
    names = sorted(evaluation.curves, key=lambda name: -support[name])[:limit]
    chosen = [(name, evaluation.curves[name]) for name in names]
    if evaluation.micro_curve is not None:
        chosen.insert(0, ("All labels (micro)", evaluation.micro_curve))
    return [
        (title, curve["average_precision"], curve_svg(curve, _curve_alt(title, curve, of)))
        for title, curve in chosen
    ]


def _curve_alt(title: str, curve: Curve, of: str) -> str:
    average = curve["average_precision"]
    return f"Precision-recall curve of {title}{of}, average precision {average:.3f}"


def _matrix(evaluation: Evaluation) -> list[dict[str, Any]]:
    labels = evaluation.predictions.labels
    if labels.task == "multi" or len(labels) > MAX_MATRIX:
        return []
    return [
        {"label": name, "cells": [(count, count / max(sum(counts), 1)) for count in counts]}
        for name, counts in zip(labels.names, evaluation.confusion, strict=True)
    ]


def _confusions(evaluation: Evaluation) -> list[tuple[str, str, int]]:
    labels = evaluation.predictions.labels
    if labels.task == "multi":
        return []
    pairs: Iterable[tuple[str, str, int]] = (
        (labels.names[i], labels.names[j], count)
        for i, counts in enumerate(evaluation.confusion)
        for j, count in enumerate(counts)
        if i != j and count
    )
    return sorted(pairs, key=lambda pair: -pair[2])[:MAX_CONFUSIONS]


def _counts(evaluation: Evaluation) -> list[tuple[str, int, int, int, int]]:
    labels = evaluation.predictions.labels
    if labels.task == "single":
        return []
    tables = zip(labels.names, evaluation.confusion, strict=True)
    return [(name, tp, fp, fn, tn) for name, ((tn, fp), (fn, tp)) in tables]
