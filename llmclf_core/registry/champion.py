"""The present champion on the challenger's test rows: predictions, stored or new, and cost."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import Corpus, Predictions
from llmclf_core.config import EvaluateConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.registry.gate import Champion
from llmclf_core.registry.learnt import without_learnt
from llmclf_core.registry.package import CLASSIFIER, CLASSIFIER_TAG
from llmclf_core.registry.redact import redact

log = logging.getLogger(__name__)

_FOLDER = "predictions"
_TRAINED, _SPEED = "train_seconds", "predict_texts_per_second"


def keep_predictions(client: MlflowClient, run_id: str, predictions: Predictions) -> None:
    """Store a version's predictions with its run, for the challengers to come."""
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        path = Path(temporary, predictions.corpus)
        predictions.save(path)
        client.log_artifacts(run_id, str(path), f"{_FOLDER}/{predictions.corpus}")


def cost_tags(evaluation: Evaluation) -> dict[str, str]:
    """What a version's tags tell of its cost, for the challengers to come."""
    costs = evaluation.cost | {_SPEED: evaluation.texts_per_second}
    return {f"cost.{name}": f"{value:.6g}" for name, value in costs.items()}


def _seconds(version: ModelVersion, texts: int) -> float | None:
    """To train it and to classify ``texts``; None for a version without such tags."""
    try:
        trained, speed = (float(version.tags[f"cost.{name}"]) for name in (_TRAINED, _SPEED))
        return trained + texts / speed
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def champion_on(
    client: MlflowClient, version: ModelVersion, corpus_path: Path, texts: int
) -> Champion:
    """The champion on a corpus's test rows.

    Stored predictions are used when they are of this corpus; otherwise the champion is loaded from
    the registry and predicts those rows that it has not learnt from. Whatever stands in the way is
    told in ``problem``.

    Args:
        client: the MLflow client.
        version: the champion's version.
        corpus_path: the corpus.
        texts: its cost is the time to train it and to classify so many.
    """
    seconds = _seconds(version, texts)
    corpus = Corpus.load(corpus_path)
    predictions = _stored(client, version, corpus.fingerprint)
    if predictions is not None:
        return Champion(version.version, predictions, seconds=seconds)
    try:
        fresh, left_out = without_learnt(client, version, corpus)
        log.info("champion version %s predicts the test rows", version.version)
        predictions = _predict(client, version, fresh)
    except Exception as error:  # such as out of memory: the challenger is registered all the same
        return Champion(version.version, problem=_told(error))
    return Champion(version.version, predictions, seconds=seconds, left_out=left_out)


def _told(error: Exception) -> str:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return redact(" ".join(f"{kind}{error}".split()))


def _stored(client: MlflowClient, version: ModelVersion, corpus: str) -> Predictions | None:
    if not version.run_id:
        return None
    folder = f"{_FOLDER}/{corpus}"
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        try:
            if not client.list_artifacts(version.run_id, folder):
                return None
            path = client.download_artifacts(version.run_id, folder, temporary)
            predictions = Predictions.load(Path(path))
        except (MlflowException, UserError, OSError) as error:
            log.info("stored predictions of version %s are not used: %s", version.version, error)
            return None
    return predictions if predictions.classifier == version.tags.get(CLASSIFIER_TAG) else None


def _predict(client: MlflowClient, version: ModelVersion, corpus: Corpus) -> Predictions:
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{version.name}/{version.version}",
            dst_path=temporary,
            tracking_uri=client.tracking_uri,
            registry_uri=client.tracking_uri,
        )
        base = os.environ.get("LLMCLF_BASE") or None
        classifier = load_classifier(Path(path, CLASSIFIER), base)
        return evaluate_classifier(classifier, corpus, EvaluateConfig(bootstrap=1)).predictions
