"""A registered model back to a classifier directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from llmclf_core.errors import UserError
from llmclf_core.registry.client import http_limits, require_reachable, short_reason
from llmclf_core.registry.redact import redact


def download_classifier(model_uri: str, tracking_uri: str) -> Path:
    """Fetch the classifier inside a registered or logged model.

    Args:
        model_uri: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``runs:/…``.
        tracking_uri: the MLflow store.

    Returns:
        Its directory; a local store's own, else a temporary copy.

    Raises:
        UserError: when there is no such model, or the store cannot be used.
    """
    try:
        with http_limits(timeout=10, retries=2), _stores_at(tracking_uri):
            require_reachable(tracking_uri, "Nothing was changed.")
            return Path(download_artifacts(f"{model_uri}/artifacts/classifier"))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"cannot fetch {model_uri} from MLflow at {redact(tracking_uri)}: {short_reason(error)}"
        ) from None


@contextmanager
def _stores_at(uri: str) -> Iterator[None]:
    """MLflow resolves ``models:/`` by its global stores only, whatever the arguments say."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # which the setters change as well
    before = {name: os.environ.get(name) for name in names}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        # Nothing set: a store that was set before is in the environment too, and holds again.
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
