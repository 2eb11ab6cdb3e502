"""One self-contained HTML page for one evaluation."""

from __future__ import annotations

from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.names import percent
from llmclf_core.evaluation.parts import parts_of, render_template

MAX_CURVES = 24

_OTHERS = {
    "accuracy": "Accuracy",
    "micro_average_precision": "Average precision, micro",
    "macro_average_precision": "Average precision, macro",
    "hamming_loss": "Hamming loss",
}


def render(evaluation: Evaluation) -> str:
    """The page as HTML; it loads nothing from elsewhere and runs no script."""
    return render_template(
        "report.html.j2",
        e=evaluation,
        p=parts_of(evaluation, MAX_CURVES),
        multi=evaluation.predictions.labels.task == "multi",
        answer=answer(evaluation),
        others=[
            (title, evaluation.metrics[name], evaluation.intervals.get(name))
            for name, title in _OTHERS.items()
            if name in evaluation.metrics
        ],
    )


def answer(evaluation: Evaluation) -> str:
    """The result in one sentence."""
    right = percent(evaluation.metrics["accuracy"], 1)
    low, high = (percent(bound, 1) for bound in evaluation.intervals["accuracy"])
    f1_low, f1_high = evaluation.intervals["macro_f1"]
    multi = evaluation.predictions.labels.task == "multi"
    return (
        f"The {evaluation.approach} classifier gets {'all labels of ' if multi else ''}"
        f"{right} of {evaluation.rows:,} test texts right "
        f"({percent(evaluation.confidence)} interval {low} to {high}), "
        f"with a macro F1 of {evaluation.metrics['macro_f1']:.3f} ({f1_low:.3f} to {f1_high:.3f})."
    )
