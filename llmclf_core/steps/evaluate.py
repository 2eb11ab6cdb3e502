"""The evaluate step: measure, save, and log to the run that the training began."""

from __future__ import annotations

from pathlib import Path

from llmclf_core.approaches.base import HEADER as CLASSIFIER_HEADER
from llmclf_core.artifacts import TEST
from llmclf_core.config import EvaluateConfig
from llmclf_core.evaluation.evaluate import evaluate
from llmclf_core.evaluation.evaluation import HEADER, REPORT, Evaluation
from llmclf_core.registry.journal import JOURNAL
from llmclf_core.registry.tracking import Tracker


def evaluate_and_track(
    classifier_path: Path, corpus_path: Path, config: EvaluateConfig, output: Path
) -> Evaluation:
    """Evaluate on the test rows and log the figures to the classifier's MLflow run.

    The evaluation is saved before anything is logged: an MLflow that cannot be reached costs
    nothing but the logging, which the register step makes up for.

    Args:
        classifier_path: a saved classifier.
        corpus_path: a saved corpus; its test rows are used.
        config: resamples, bins and so on.
        output: directory to write.

    Raises:
        UserError: for unreadable input, label spaces that differ, or an unwritable output.
    """
    evaluation = evaluate(classifier_path, corpus_path, config, output)
    with Tracker.resume(classifier_path, output / JOURNAL) as tracker:
        tracker.metrics({f"test_{name}": value for name, value in evaluation.metrics.items()})
        tracker.metrics(_intervals(evaluation))
        tracker.metrics({"predict_texts_per_second": evaluation.texts_per_second})
        corpus = evaluation.predictions.corpus
        tracker.dataset(corpus, "corpus", "test rows", evaluation.rows, TEST)
        tracker.artifact(classifier_path / CLASSIFIER_HEADER, "classifier")
        for name in (REPORT, HEADER):
            tracker.artifact(output / name, "evaluation")
    return evaluation


def _intervals(evaluation: Evaluation) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, (low, high) in evaluation.intervals.items():
        flat |= {f"test_{name}_low": low, f"test_{name}_high": high}
    return flat
