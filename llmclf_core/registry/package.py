"""A classifier as an MLflow model: code and adapter inside, the base model only by reference."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, Map

import llmclf_core
from llmclf_core.approaches.base import HEADER
from llmclf_core.files import read_json
from llmclf_core.labels import Task
from llmclf_core.registry.journal import JOURNAL
from llmclf_core.registry.lineage import versions

CLASSIFIER = Path("artifacts", "classifier")
"""The classifier's directory inside the logged model."""

CLASSIFIER_TAG = "llmclf.classifier"

_CODE = Path(llmclf_core.__file__).parent
_REQUIREMENTS = [
    "datasets",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scikit-learn",
    "tqdm",
]
_NEURAL = ["accelerate", "bitsandbytes", "gguf", "peft", "torch", "transformers"]
_EXAMPLE = "A method for coating a lens with a thin film that reflects little light."


def requirements(approach: str) -> list[str]:
    """What serving needs, pinned to the installed versions (without local tags such as +cpu).

    Args:
        approach: of the classifier; ``tfidf`` is served without torch.
    """
    names = _REQUIREMENTS if approach == "tfidf" else sorted(_REQUIREMENTS + _NEURAL)
    return [f"{name}=={v.partition('+')[0]}" for name, v in versions(names).items()]


def signature(task: Task) -> ModelSignature:
    """Column ``text`` to ``label`` and ``probabilities`` (label name to probability)."""
    label = DataType.string if task == "single" else Array(DataType.string)
    return ModelSignature(
        Schema([ColSpec(DataType.string, "text")]),
        Schema([ColSpec(label, "label"), ColSpec(Map(DataType.double), "probabilities")]),
        ParamSchema([ParamSpec("batch_size", DataType.long, 16)]),
    )


def save_model(classifier: Path, output: Path, model: Model | None = None) -> None:
    """Write a classifier as an MLflow pyfunc model, by models from code: nothing is pickled.

    Args:
        classifier: the classifier's directory.
        output: directory of the model; must not exist.
        model: MLflow's description of the model, with the ids of the run and the logged model.

    Raises:
        UserError: when ``classifier`` is not a classifier.
    """
    header = read_json(classifier / HEADER, "classifier")
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        staged = Path(temporary, CLASSIFIER.name)
        shutil.copytree(classifier, staged, ignore=shutil.ignore_patterns(JOURNAL))
        mlflow.pyfunc.save_model(
            output,
            python_model=str(_CODE / "registry" / "serving_model.py"),
            artifacts={"classifier": str(staged)},
            code_paths=[str(_CODE)],
            signature=signature(header["labels"]["task"]),
            input_example=pd.DataFrame({"text": [_EXAMPLE]}),
            pip_requirements=requirements(header["approach"]),
            mlflow_model=model or Model(),
            metadata={"approach": header["approach"], "base": header.get("base")},
        )
    for cache in output.rglob("__pycache__"):
        shutil.rmtree(cache)


def log_model(
    client: MlflowClient, run: Run, name: str, classifier: Path, tags: Mapping[str, str]
) -> LoggedModel:
    """Log a classifier as a model of a run; a whole one that is there already is used again.

    Args:
        client: the MLflow client.
        run: the training run.
        name: the model's name.
        classifier: the classifier's directory.
        tags: put on the model; ``llmclf.classifier`` tells models apart.
    """
    found = _logged(client, run, tags[CLASSIFIER_TAG])
    if found is not None:
        return found
    experiment, run_id = run.info.experiment_id, run.info.run_id
    logged = client.create_logged_model(experiment, name, run_id, dict(tags), model_type="llmclf")
    description = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
            save_model(classifier, Path(temporary, "model"), description)
            client.log_model_artifacts(logged.model_id, os.path.join(temporary, "model"))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return client.finalize_logged_model(logged.model_id, "READY")


def _logged(client: MlflowClient, run: Run, classifier: str) -> LoggedModel | None:
    models = client.search_logged_models(
        [run.info.experiment_id], f"tags.`{CLASSIFIER_TAG}` = '{classifier}'"
    )
    return next((m for m in models if m.status == "READY"), None)


def version_tags(classifier: Path, corpus: str) -> dict[str, str]:
    """Lineage of a classifier, flat, for a model version.

    Args:
        classifier: the classifier's directory.
        corpus: fingerprint of the corpus that it was tested on.
    """
    header = read_json(classifier / HEADER, "classifier")
    lineage = read_lineage(classifier)
    base: dict[str, Any] = header.get("base") or {}
    tags = {
        CLASSIFIER_TAG: header["fingerprint"],
        "llmclf.corpus": corpus,
        "llmclf.approach": header["approach"],
        "llmclf.base": base.get("source"),
        "llmclf.base_revision": base.get("revision"),
        "llmclf.base_fingerprint": base.get("fingerprint"),
        "llmclf.quantization": base.get("quantization"),
        "llmclf.seed": lineage.get("seed"),
        "llmclf.pipeline_run": lineage.get("pipeline_run"),
        "llmclf.git_commit": lineage.get("git_commit"),
        "llmclf.version": lineage.get("llmclf"),
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def read_lineage(classifier: Path) -> dict[str, Any]:
    """The classifier's ``lineage.json``; empty when it has none."""
    path = classifier / "lineage.json"
    lineage: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return lineage
