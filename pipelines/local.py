"""Run the pipeline on this machine with KFP's local runner."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from kfp import local

from llmclf_core.config import IngestConfig, Recipe
from llmclf_core.errors import UserError, explain_os_errors
from llmclf_core.evaluation.comparison import Comparison
from llmclf_core.evaluation.evaluation import REPORT, Evaluation
from llmclf_core.failures import FAILURE
from llmclf_core.files import write_json
from llmclf_core.paths import expand, fingerprint
from llmclf_core.registry.redact import redact
from llmclf_core.registry.register import Registration
from llmclf_core.registry.runs import close_parent
from llmclf_core.steps.process import ERROR_FILE
from pipelines.console import quiet
from pipelines.pipeline import arguments, build
from pipelines.runners import code_version, expanded, open_runner, steps_image
from pipelines.store import prepare_store

log = logging.getLogger(__name__)

_LOCK = ".running"


@dataclass(frozen=True)
class Finished:
    """What one local execution left behind.

    Attributes:
        directory: of the run, with ``summary.json``.
        summary: what that file holds.
    """

    directory: Path
    summary: dict[str, Any]


def run(recipe: Recipe, runs: Path, in_containers: bool = False) -> Finished:
    """Run every step in a process or container of its own, reusing finished ones, and sum up.

    Args:
        recipe: what to run.
        runs: directory that gets a folder for this run; also holds the step cache and, unless a
            tracking URI is set, the MLflow store.
        in_containers: of the image; or in processes of this machine.

    Raises:
        UserError: when a step failed; the message is the step's own.
    """
    runs = runs.absolute()
    image = steps_image(runs) if in_containers else None
    code = code_version(image)
    recipe = expanded(recipe) if in_containers else recipe
    execution = f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    directory = runs / execution
    with explain_os_errors(directory):
        directory.mkdir(parents=True)
    begun = time.monotonic()
    with _running(directory), _environment(recipe, runs, execution, directory):
        status, metrics = "FAILED", {}
        try:
            with open_runner(image, recipe, runs, directory) as steps:
                _init(steps, runs, directory, code)
                outputs = _execute(recipe, runs, directory)
            summary = _summary(recipe, execution, outputs, time.monotonic() - begun)
            # Under the names that the nested runs have, so that MLflow charts them together.
            metrics = {f"test_{name}": value for name, value in summary["metrics"].items()}
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            close_parent(status, metrics)
    write_json(directory / "summary.json", summary)
    write_json(runs / "latest.json", {"run": execution})
    return Finished(directory, summary)


def _init(
    runner: local.SubprocessRunner | local.DockerRunner, runs: Path, directory: Path, code: str
) -> None:
    local.init(
        runner=runner,
        pipeline_root=str(directory / "artifacts"),
        workspace_root=str(directory / "workspace"),
        enable_caching=True,
        cache_root=str(runs / ".cache" / f"steps-{code}"),
    )


def _execute(recipe: Recipe, runs: Path, directory: Path) -> dict[str, Path]:
    for other in runs.glob("*/artifacts"):
        _forget_failures_of_the_dead(other.parent)
    try:
        versions = {
            "source_version": source_version(recipe.ingest),
            "base_version": files_version([recipe.base.source]),
            "encoder_version": files_version([recipe.encoder.base.source]),
        }
        # One machine: trainings that share its processor or GPU would only wait for each other.
        pipeline = build(recipe.approaches, parallelism=1)
        with (
            explain_os_errors(directory),
            quiet(directory / "log.txt"),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", "Task .* have no effect in the current local runner")
            warnings.filterwarnings("ignore", "You may be attemping to run a task that uses custom")
            outputs = pipeline(**arguments(recipe, **versions)).outputs
    except RuntimeError as error:
        raise UserError(_failure(directory, error)) from None
    finally:
        _forget_failures(directory)
    return {name: Path(artifact.path) for name, artifact in outputs.items()}


@contextmanager
def _running(directory: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however that comes about."""
    with FileLock(directory / _LOCK):
        yield


def _forget_failures(directory: Path) -> None:
    """Steps whose artifact is gone are done again: a failure is not to be found in the cache."""
    for file in list((directory / "artifacts").rglob(FAILURE)):
        shutil.rmtree(file.parent, ignore_errors=True)


def _forget_failures_of_the_dead(directory: Path) -> None:
    """A run that was killed left its failures behind; one that still runs needs them."""
    try:
        with FileLock(directory / _LOCK, timeout=0):
            _forget_failures(directory)
    except (Timeout, OSError):
        return


def _failure(directory: Path, error: Exception) -> str:
    file = directory / "error.txt"
    if file.exists():
        return file.read_text("utf-8")
    return f"a step failed: {error}\nSee {directory / 'log.txt'}; run again to go on from there"


@contextmanager
def _environment(recipe: Recipe, runs: Path, execution: str, directory: Path) -> Iterator[None]:
    """What the steps' processes find in their environment."""
    uri = recipe.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    experiment = recipe.tracking.experiment or recipe.name
    values = {
        "MLFLOW_TRACKING_URI": uri or prepare_store(runs, experiment),
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "LLMCLF_PIPELINE_RUN": execution,
        ERROR_FILE: str(directory / "error.txt"),
        "PYTHONUNBUFFERED": "1",
        # A step needs of kfp what executes it; the client alone takes most of a second to import.
        "_KFP_RUNTIME": "true",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def source_version(config: IngestConfig) -> str:
    """Names, sizes and times of the source's files: another value, and ingest runs again.

    A hub dataset has none here; pin its ``revision``.
    """
    sources = config.source.values() if isinstance(config.source, dict) else [config.source]
    return files_version(sources)


def files_version(sources: Iterable[str]) -> str:
    """A fingerprint of the names, sizes and times of files, or of all files in directories."""
    found = []
    for source in sources:
        path = expand(source)
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
        found.append(hashlib.sha256(repr(stats).encode()).hexdigest())
    return fingerprint(found)


def _summary(
    recipe: Recipe, execution: str, outputs: dict[str, Path], seconds: float
) -> dict[str, Any]:
    comparison = Comparison.load(outputs["comparison"])
    evaluation = Evaluation.load(outputs["evaluation"])
    registration = Registration.load(outputs["registration"])
    return {
        "run": execution,
        "answer": comparison.answer,
        "seconds": round(seconds, 1),
        "corpus": comparison.corpus,
        "test_rows": comparison.rows,
        "confidence": comparison.settings.confidence,
        "metric": comparison.settings.metric,
        "champion": comparison.champion,
        "approaches": [asdict(a) for a in comparison.approaches],
        "pairs": [asdict(pair) for pair in comparison.pairs],
        "missing": [asdict(missing) for missing in comparison.missing],
        "classifier": evaluation.predictions.classifier,
        "metrics": evaluation.metrics,
        "intervals": {name: list(pair) for name, pair in evaluation.intervals.items()},
        "registration": asdict(registration),
        "tracking_uri": redact(os.environ["MLFLOW_TRACKING_URI"]),
        "artifacts": {name: str(path) for name, path in outputs.items()},
        "report": str(outputs["comparison"] / REPORT),
    }
