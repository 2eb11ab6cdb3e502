"""The way to MLflow: where it is, short HTTP limits, finding or creating what must be unique."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from llmclf_core.errors import UserError
from llmclf_core.registry.redact import redact
from llmclf_core.registry.sqlite import (
    artifacts_beside,
    database_file,
    database_kind,
    ensure_database,
)
from llmclf_core.registry.transfer import use_transfers

TRACKING_URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
PIPELINE_RUN = "LLMCLF_PIPELINE_RUN"
DEFAULT_EXPERIMENT = "llmclf"

PIPELINE_RUN_TAG = "llmclf.pipeline_run"
RUN_KEY_TAG = "llmclf.run_key"

_SETTLE_SECONDS = 1.0
_GROWN_UP_SECONDS = 10.0
"""A run of this age has no rivals any more."""
_KNOCK_SECONDS = 5
_REFUSED = "it does not accept this user name and password"
_FORBIDDEN = "this account may not change that experiment or model (PERMISSION_DENIED)"
_CURES = {
    _REFUSED: "Correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    _FORBIDDEN: "Have its owner or an administrator give the right, or choose other names "
    "(tracking.experiment and register.name in the recipe)",
}


def tracking_uri() -> str | None:
    """``MLFLOW_TRACKING_URI``, or None when tracking is off."""
    return os.environ.get(TRACKING_URI) or None


def experiment_name() -> str:
    """``MLFLOW_EXPERIMENT_NAME``, or ``llmclf``."""
    return os.environ.get(EXPERIMENT) or DEFAULT_EXPERIMENT


@contextmanager
def http_limits(timeout: int, retries: int) -> Iterator[None]:
    """Let MLflow's HTTP calls give up soon; what the user has set in the environment stays.

    MLflow's own defaults keep a call to a dead server busy for minutes. The limits are environment
    variables, so enter this on the main thread only. Also kept quiet: the run's URL, which MLflow
    prints with any credentials in it, and progress bars in a log. Files go through the server: by
    MLflow's default a client fetches them from the server's own S3, which it need not reach. They
    have a longer limit, that of :mod:`llmclf_core.registry.transfer`.

    Args:
        timeout: seconds to connect, and between two bytes.
        retries: repetitions of a failed call.
    """
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": str(sys.stderr.isatty()).lower(),
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    }
    added = [name for name in limits if name not in os.environ]
    os.environ.update({name: limits[name] for name in added})
    use_transfers()
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def connect(uri: str) -> MlflowClient:
    """A client for ``uri``, after one quick knock at its door.

    Without the knock MLflow tries a dead database for minutes before it says so.

    Raises:
        Exception: of the HTTP or the SQL library, when nobody answers.
    """
    if uri.startswith(("http://", "https://")):
        http_request(
            get_default_host_creds(uri), "/health", "GET", max_retries=0, timeout=_KNOCK_SECONDS
        )
    elif database_kind(uri) in DATABASE_ENGINES:
        ensure_database(uri)
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        engine.connect().close()
    return MlflowClient(uri)


def require_reachable(uri: str | None, kept: str) -> MlflowClient:
    """A client whose server has answered.

    Args:
        uri: the tracking URI.
        kept: said in the message: what is not lost, and where it is.

    Raises:
        UserError: within about 15 seconds, when there is no URI or no answer, or a SQLite store
            cannot be made.
    """
    if not uri:
        raise UserError(f"{TRACKING_URI} is not set; set it to your MLflow store and run again")
    try:
        client = connect(uri)
        client.search_experiments(max_results=1)
    except UserError:
        raise
    except Exception as error:  # anything from DNS to SQL; the user needs one sentence
        raise unreachable(uri, error, kept) from None
    return client


def unreachable(uri: str, error: Exception, kept: str) -> UserError:
    """The message for a store that does not answer, or refuses."""
    reason = short_reason(error)
    cure = _CURES.get(reason, f"Start the server or correct {TRACKING_URI}")
    return UserError(
        f"MLflow at {redact(uri)} cannot be used: {reason}. {kept} {cure}, then run again: "
        "finished steps are reused"
    )


def short_reason(error: Exception) -> str:
    """An exception as one redacted line."""
    text = redact(" ".join(str(error).split()))
    if "you are not authenticated" in text.lower():
        return _REFUSED
    # A bare "Permission denied" may be a file's, on this side.
    if "PERMISSION_DENIED" in text or ("403" in text and "Permission denied" in text):
        return _FORBIDDEN
    for known in ("Connection refused", "Name or service not known", "timed out", "Unauthorized"):
        if known.lower() in text.lower():
            return known.lower()
    return f"{type(error).__name__}: {text[:200]}"


def experiment_id(client: MlflowClient, name: str) -> str:
    """Find the experiment, or create it; two processes doing so at once get the same.

    Raises:
        MlflowException: when the server fails, or the experiment was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            file = database_file(client.tracking_uri)
            artifacts = artifacts_beside(file) if file else None
            return str(client.create_experiment(name, artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise MlflowException(
            f"experiment {name!r} was deleted: restore it (mlflow experiments restore) or set "
            f"{EXPERIMENT} to another name"
        )
    return str(found.experiment_id)


def tagged_runs(client: MlflowClient, experiment: str, tag: str, value: str) -> list[Run]:
    """Runs that carry ``tag = value``, the earliest first, so that everyone chooses the same."""
    quote = '"' if "'" in value else "'"
    runs = client.search_runs([experiment], f"tags.`{tag}` = {quote}{value}{quote}")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def find_or_create_run(
    client: MlflowClient,
    experiment: str,
    key: tuple[str, str],
    create: Callable[[], Run],
    settle: bool = False,
) -> tuple[Run, bool]:
    """Find the run that carries a tag, or create it.

    MLflow has no unique key for runs. With ``settle``, processes that create at once end with one
    run: each waits after creating, so that it sees every rival that began before it was itself
    visible (as long as creating takes less than the wait), and all keep the earliest. A process
    whose creating took longer gives way to any rival. Whoever finds a run that is young looks again
    before believing in it: it may be about to give way.

    Args:
        client: the MLflow client.
        experiment: id of the experiment.
        key: the tag's name and value.
        create: makes a run that carries the tag.
        settle: whether others may be creating it at the same time.

    Returns:
        The run, and whether this call created it.
    """
    while True:
        began = time.monotonic()
        if runs := tagged_runs(client, experiment, *key):
            if not settle or _stays(client, experiment, key, runs):
                return runs[0], False
            continue
        mine = create()
        slow = time.monotonic() - began > _SETTLE_SECONDS
        if not settle:
            return mine, True
        time.sleep(_SETTLE_SECONDS)
        ids = [run.info.run_id for run in tagged_runs(client, experiment, *key)]
        if ids == [mine.info.run_id] or (ids[0] == mine.info.run_id and not slow):
            return mine, True
        client.delete_run(mine.info.run_id)
        time.sleep(random.random())  # noqa: S311


def _stays(client: MlflowClient, experiment: str, key: tuple[str, str], runs: list[Run]) -> bool:
    """Whether the first of these runs is the one that all rivals keep."""
    if time.time() - runs[0].info.start_time / 1000 > _GROWN_UP_SECONDS:
        return True
    time.sleep(_SETTLE_SECONDS)
    again = [run.info.run_id for run in tagged_runs(client, experiment, *key)]
    return again == [runs[0].info.run_id]
