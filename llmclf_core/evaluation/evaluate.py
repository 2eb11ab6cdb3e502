"""Judge a classifier on a corpus's test rows, which are used for nothing else."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import numpy.typing as npt

from llmclf_core.approaches import load_classifier
from llmclf_core.approaches.base import HEADER, Calibration, Classifier
from llmclf_core.artifacts import TEST, Corpus, Predictions
from llmclf_core.config import EvaluateConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.arrays import Floats
from llmclf_core.evaluation.calibration import reliability
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.intervals import bootstrap_intervals
from llmclf_core.evaluation.metrics import (
    compute_metrics,
    confusion,
    per_label,
    pr_curve,
    pr_curves,
    probability_metrics,
)
from llmclf_core.evaluation.mistakes import worst_mistakes
from llmclf_core.evaluation.predict import predict_rows
from llmclf_core.evaluation.report import render
from llmclf_core.files import read_json
from llmclf_core.labels import LabelSpace

_log = logging.getLogger(__name__)


def evaluate(
    classifier_path: Path, corpus_path: Path, config: EvaluateConfig, output: Path
) -> Evaluation:
    """Load a classifier and a corpus, evaluate, save the evaluation to ``output``.

    Raises:
        UserError: see :func:`evaluate_classifier`; also for a directory that is not a classifier
            or a corpus, or an output that cannot be written.
    """
    corpus = Corpus.load(corpus_path)
    classifier = load_classifier(classifier_path)
    evaluation = _with_origin(evaluate_classifier(classifier, corpus, config), classifier_path)
    evaluation.save(output, render(evaluation))
    return evaluation


def _with_origin(evaluation: Evaluation, classifier: Path) -> Evaluation:
    """Add what only the classifier's directory tells: its base model and its size."""
    header = read_json(classifier / HEADER, "classifier")
    base = header.get("base") or {}
    size = sum((classifier / name).stat().st_size for name in [HEADER, *header["files"]])
    return replace(
        evaluation,
        base=base.get("source"),
        quantization=base.get("quantization", "none"),
        cost=evaluation.cost | {"artifact_mb": size / 1e6},
    )


def evaluate_classifier(
    classifier: Classifier, corpus: Corpus, config: EvaluateConfig
) -> Evaluation:
    """Predict the test rows and compute every figure.

    Raises:
        UserError: when the label spaces differ, the corpus has no test rows, or the classifier
            gives scores that are not finite.
    """
    _check_labels(classifier.labels, corpus.labels)
    rows = corpus.splits.get(TEST)
    if rows is None or len(rows) == 0:
        raise UserError(
            "the corpus has no test rows, so there is nothing to evaluate on; give ingest a test "
            "source or set split.test above 0"
        )
    started = time.perf_counter()
    logits = predict_rows(classifier, rows, config.batch_size)
    seconds = max(time.perf_counter() - started, 1e-6)
    _log.info("predicted %d test rows in %.1f s", len(rows), seconds)
    predictions = _predictions(classifier, corpus, rows, logits)
    return _figures(classifier, predictions, rows, config, seconds, corpus)


def _check_labels(classifier: LabelSpace, corpus: LabelSpace) -> None:
    if classifier == corpus:
        return
    if classifier.task != corpus.task:
        detail = f"it is {classifier.task}-label, the corpus is {corpus.task}-label"
    elif missing := [n for n in corpus.names if n not in classifier.names]:
        detail = f"it does not know {_some(missing)}"
    elif extra := [n for n in classifier.names if n not in corpus.names]:
        detail = f"the corpus does not have its {_some(extra)}"
    else:
        detail = "the same labels are in another order"
    raise UserError(
        f"the classifier was trained for other labels than the corpus has: {detail}; evaluate on "
        "the corpus it was trained on, or one with the same labels (labels.names in the recipe)"
    )


def _some(names: list[str]) -> str:
    return ", ".join(repr(n) for n in names[:10]) + (" …" if len(names) > 10 else "")


def _predictions(
    classifier: Classifier,
    corpus: Corpus,
    rows: datasets.Dataset,
    logits: npt.NDArray[np.float32],
) -> Predictions:
    probabilities = classifier.calibration.probabilities(logits, corpus.labels)
    return Predictions(
        ids=list(rows["id"]),
        truth=corpus.labels.indicators(rows["labels"]),
        logits=logits,
        probabilities=probabilities,
        predicted=classifier.calibration.decide(probabilities, corpus.labels),
        labels=corpus.labels,
        corpus=corpus.fingerprint,
        classifier=classifier.fingerprint,
    )


def _figures(
    classifier: Classifier,
    predictions: Predictions,
    rows: datasets.Dataset,
    config: EvaluateConfig,
    seconds: float,
    corpus: Corpus,
) -> Evaluation:
    truth, predicted, labels = predictions.truth, predictions.predicted, predictions.labels
    probabilities = predictions.probabilities
    plain = Calibration.none(len(labels)).probabilities(predictions.logits, labels)
    return Evaluation(
        predictions=predictions,
        approach=classifier.approach,
        metrics=_metrics(predictions, plain, config.bins),
        intervals=bootstrap_intervals(
            truth, predicted, config.bootstrap, config.confidence, config.seed
        ),
        confidence=config.confidence,
        temperature=classifier.calibration.temperature,
        per_label=per_label(
            truth, probabilities, predicted, labels, classifier.calibration.thresholds
        ),
        confusion=confusion(truth, predicted, labels).tolist(),
        curves=pr_curves(truth, probabilities, labels),
        micro_curve=pr_curve(truth, probabilities) if truth.any() else None,
        reliability={
            "before": reliability(plain, truth, labels, config.bins),
            "after": reliability(probabilities, truth, labels, config.bins),
        },
        mistakes=worst_mistakes(predictions, rows),
        seconds=seconds,
        corpus_report=corpus.report,
        seed=classifier.lineage.get("seed"),
        cost=dict(classifier.cost),
        validation=dict(classifier.validation),
        trained_on=classifier.lineage.get("corpus"),
    )


def _metrics(predictions: Predictions, plain: Floats, bins: int) -> dict[str, float]:
    truth, labels = predictions.truth, predictions.labels
    metrics = compute_metrics(truth, predictions.probabilities, predictions.predicted, labels, bins)
    before = probability_metrics(truth, plain, labels, bins)
    return metrics | {f"uncalibrated_{name}": value for name, value in before.items()}
