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
    settings: Dict[str, Any],
):
    """Measure a classifier on the test rows, which nothing before has seen.

    Args:
        corpus: What `ingest` wrote.
        classifier: Any trained classifier.
        evaluation: Predictions (Arrow), metrics with intervals, curves.
        metrics: The scalar metrics, for the Kubeflow page.
        classification: Confusion matrix (single-label), for the Kubeflow page.
        report: One self-contained page.
        settings: The recipe's `evaluate` section.
    """
    import json
    import shutil
    from pathlib import Path

    from llmclf_core.config import EvaluateConfig, parse
    from llmclf_core.steps.evaluate import evaluate_and_track
    from llmclf_core.steps.process import step

    with step("evaluate"):
        result = evaluate_and_track(
            Path(classifier.path),
            Path(corpus.path),
            parse(EvaluateConfig, settings, "evaluate"),
            Path(evaluation.path),
        )
    shutil.copyfile(Path(evaluation.path) / "report.html", report.path)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
    for artifact in (metrics, classification):
        # Both live in their metadata; KFP's local cache reuses only artifacts with a file.
        Path(artifact.path).write_text(json.dumps(result.metrics))
    if result.predictions.labels.task == "single":
        names = list(result.predictions.labels.names)
        classification.log_confusion_matrix(names, result.confusion)
