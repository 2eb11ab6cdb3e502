"""One self-contained HTML page for one evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.metrics import Curve
from llmclf_core.evaluation.plots import curve_svg, reliability_svg

MAX_MATRIX = 20
"""With more labels the matrix is left out and only the commonest confusions are listed."""
MAX_CURVES = 24
MAX_CONFUSIONS = 15

_OTHERS = {
    "accuracy": "Accuracy",
    "micro_average_precision": "Average precision, micro",
    "macro_average_precision": "Average precision, macro",
    "hamming_loss": "Hamming loss",
}
_PROBABILITY = {
    "calibration_error": "Calibration error",
    "log_loss": "Log loss",
    "brier": "Brier score",
}


def render(evaluation: Evaluation) -> str:
    """The page as HTML; it loads nothing from elsewhere and runs no script."""
    environment = Environment(
        loader=PackageLoader("llmclf_core.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        e=evaluation,
        multi=evaluation.predictions.labels.task == "multi",
        answer=answer(evaluation),
        others=[
            (title, evaluation.metrics[name], evaluation.intervals.get(name))
            for name, title in _OTHERS.items()
            if name in evaluation.metrics
        ],
        calibration=[
            (title, evaluation.metrics[f"uncalibrated_{name}"], evaluation.metrics[name])
            for name, title in _PROBABILITY.items()
        ],
        diagrams=_diagrams(evaluation),
        curves=_curves(evaluation),
        matrix=_matrix(evaluation),
        confusions=_confusions(evaluation),
    )


def answer(evaluation: Evaluation) -> str:
    """The result in one sentence."""
    low, high = evaluation.intervals["accuracy"]
    f1_low, f1_high = evaluation.intervals["macro_f1"]
    multi = evaluation.predictions.labels.task == "multi"
    return (
        f"The {evaluation.approach} classifier gets {'all labels of ' if multi else ''}"
        f"{evaluation.metrics['accuracy']:.1%} of {evaluation.rows:,} test texts right "
        f"({evaluation.confidence:.0%} interval {low:.1%} to {high:.1%}), "
        f"with a macro F1 of {evaluation.metrics['macro_f1']:.3f} ({f1_low:.3f} to {f1_high:.3f})."
    )


def _diagrams(evaluation: Evaluation) -> list[tuple[str, Markup]]:
    result = []
    for when in ("before", "after"):
        prefix = "uncalibrated_" if when == "before" else ""
        error = evaluation.metrics[f"{prefix}calibration_error"]
        title = f"{when} temperature scaling"
        alt = (
            f"Reliability diagram {title}: observed frequency against confidence; "
            f"calibration error {error:.3f}"
        )
        result.append((title.capitalize(), reliability_svg(evaluation.reliability[when], alt)))
    return result


def _curves(evaluation: Evaluation) -> list[tuple[str, float, Markup]]:
    """Title, average precision and plot; all labels together, then the commonest labels."""
    support = {row["label"]: row["support"] for row in evaluation.per_label}
    names = sorted(evaluation.curves, key=lambda name: -support[name])[:MAX_CURVES]
    chosen = [(name, evaluation.curves[name]) for name in names]
    if evaluation.micro_curve is not None:
        chosen.insert(0, ("All labels (micro)", evaluation.micro_curve))
    return [
        (title, curve["average_precision"], curve_svg(curve, _curve_alt(title, curve)))
        for title, curve in chosen
    ]


def _curve_alt(title: str, curve: Curve) -> str:
    return f"Precision-recall curve of {title}, average precision {curve['average_precision']:.3f}"


def _matrix(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of the confusion matrix with each cell's share of its row; empty when not shown."""
    labels = evaluation.predictions.labels
    if labels.task == "multi" or len(labels) > MAX_MATRIX:
        return []
    return [
        {"label": name, "cells": [(count, count / max(sum(counts), 1)) for count in counts]}
        for name, counts in zip(labels.names, evaluation.confusion, strict=True)
    ]


def _confusions(evaluation: Evaluation) -> list[tuple[str, str, int]]:
    """The commonest (true, predicted, rows) off the diagonal; single-label only."""
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
