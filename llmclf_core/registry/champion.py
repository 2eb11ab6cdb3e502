"""The present champion's predictions of the challenger's test rows, stored or made again."""

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
from llmclf_core.registry.gate import Champion
from llmclf_core.registry.package import CLASSIFIER, CLASSIFIER_TAG

log = logging.getLogger(__name__)

_FOLDER = "predictions"


def keep_predictions(client: MlflowClient, run_id: str, predictions: Predictions) -> None:
    """Store a version's predictions with its run, for the challengers to come."""
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        path = Path(temporary, predictions.corpus)
        predictions.save(path)
        client.log_artifacts(run_id, str(path), f"{_FOLDER}/{predictions.corpus}")


def champion_on(client: MlflowClient, version: ModelVersion, corpus_path: Path) -> Champion:
    """The champion on a corpus's test rows.

    Stored predictions are used when they are of this corpus; otherwise the champion is loaded from
    the registry and predicts. Whatever stands in the way is told in ``problem``.

    Args:
        client: the MLflow client.
        version: the champion's version.
        corpus_path: the corpus.
    """
    corpus = Corpus.load(corpus_path)
    predictions = _stored(client, version, corpus.fingerprint)
    if predictions is not None:
        return Champion(version.version, predictions)
    log.info("champion version %s predicts the test rows", version.version)
    try:
        return Champion(version.version, _predict(client, version, corpus))
    except (UserError, MlflowException, OSError) as error:
        return Champion(version.version, problem=f"{type(error).__name__}: {error}")


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
    return predictions if predictions.classifier == version.tags[CLASSIFIER_TAG] else None


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
