"""Which classifier a prediction uses when none is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

from llmclf_core.approaches import Classifier, load_classifier
from llmclf_core.errors import UserError
from llmclf_core.registry.download import download_classifier
from pipelines.store import existing_store


def open_classifier(model: str | None, runs: Path, base: str | None) -> Classifier:
    """Load a classifier from a directory, the registry, or the latest run.

    Args:
        model: directory, or MLflow URI (``models:/NAME@champion``); None for the latest run's.
        runs: directory of runs; its embedded store is used when no tracking URI is set.
        base: where the base model lies now, when not at the recorded place.

    Raises:
        UserError: when there is no such model.
    """
    if model is None:
        model = _latest(runs)
    if "://" not in model and not model.startswith(("models:/", "runs:/")):
        return load_classifier(Path(model), base)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or existing_store(runs)
    return load_classifier(download_classifier(model, uri), base)


def _latest(runs: Path) -> str:
    try:
        latest = json.loads((runs / "latest.json").read_text("utf-8"))["run"]
        summary = json.loads((runs / latest / "summary.json").read_text("utf-8"))
        # The very classifier lies on this disk; the registry is asked only when it was moved away.
        own, registered = summary["artifacts"]["champion"], summary["registration"]["model_uri"]
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"no finished run in {runs}; name a model: --model models:/NAME@champion"
        ) from None
    return str(own if Path(own).exists() else registered)
