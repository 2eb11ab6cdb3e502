"""Component: evaluate."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    corpus: Input[Dataset],
    classifier: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[HTML],
    approach: str,
    settings: Dict[str, Any],
    seed: int = -1,
):
    """Measure a classifier on the test rows, which nothing before has seen.

    Args:
        corpus: What `ingest` wrote.
        classifier: Any trained classifier.
        evaluation: Predictions (Arrow), metrics with intervals, curves.
        metrics: The scalar metrics, for the Kubeflow page.
        classification: Confusion matrix (single-label), for the Kubeflow page.
        report: One self-contained page.
        approach: Of the classifier.
        settings: The recipe's `evaluate` section.
        seed: Of the training; -1 for an approach that knows no chance.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.pages import evaluation_page
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import titled

    def work() -> None:
        from llmclf_core.config import EvaluateConfig, parse
        from llmclf_core.steps.evaluate import evaluate_and_track

        config = parse(EvaluateConfig, settings, "evaluate")
        evaluate_and_track(Path(classifier.path), Path(corpus.path), config, output)

    output = Path(evaluation.path)
    with step(f"evaluate {approach}"):
        known = None if seed < 0 else int(seed)
        attempt("evaluate", approach, known, [Path(classifier.path)], output, work)
    whose = approach if known is None else f"{approach}, seed {known}"
    for artifact, title in (
        (evaluation, "Evaluation"),
        (metrics, "Metrics"),
        (classification, "Confusion matrix"),
        (report, "Report"),
    ):
        artifact.metadata.update(titled(output, f"{title} of {whose}"))
    shown = evaluation_page(output, Path(report.path), metrics.path, classification.path)
    for name, value in shown.metrics.items():
        metrics.log_metric(name, value)
    if shown.confusion:
        classification.log_confusion_matrix(shown.labels, shown.confusion)
