"""The runs in MLflow: one parent for each pipeline execution, one nested run for each training."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from llmclf_core.registry import journal as op
from llmclf_core.registry.client import (
    PIPELINE_RUN,
    PIPELINE_RUN_TAG,
    RUN_KEY_TAG,
    TRACKING_URI,
    connect,
    experiment_id,
    experiment_name,
    find_or_create_run,
    http_limits,
    require_reachable,
    short_reason,
    tagged_runs,
    tracking_uri,
)
from llmclf_core.registry.delivery import Delivery, now_ms
from llmclf_core.registry.journal import Entry
from llmclf_core.registry.redact import redact, redact_values

log = logging.getLogger(__name__)


EXECUTION_TAG = "llmclf.execution"
"""On a nested run: the pipeline execution that it belongs to."""

REGISTERED_TAG = "llmclf.registered"
"""On a parent run: the model version that came of it. Nothing that can fail follows it."""


def pipeline_run() -> str | None:
    """``LLMCLF_PIPELINE_RUN``: the id of the pipeline execution that this process belongs to."""
    return os.environ.get(PIPELINE_RUN) or None


def run_entry(run_key: str, name: str) -> Entry:
    """The first entry of a journal: everything needed to find the run, or create it."""
    return {
        "op": op.RUN,
        "run_key": run_key,
        "name": redact(name),
        "experiment": experiment_name(),
        "pipeline_run": pipeline_run(),
        "time": now_ms(),
    }


def delivery_to(client: MlflowClient, head: Entry) -> Delivery:
    """A delivery to the nested run that a journal's first entry describes."""
    return Delivery(client, lambda: open_run(client, head))


def open_run(client: MlflowClient, head: Entry) -> tuple[Run, bool]:
    """The nested run of a journal's first entry, and whether it was created just now."""
    experiment = experiment_id(client, head["experiment"])

    def create() -> Run:
        tags = {RUN_KEY_TAG: head["run_key"]}
        if execution := pipeline_run() or head["pipeline_run"]:
            tags |= _parent_tags(client, experiment, execution)
        return client.create_run(experiment, head["time"], tags, head["name"])

    key = (RUN_KEY_TAG, head["run_key"])
    run, created = find_or_create_run(client, experiment, key, create)
    if not created:
        _adopt(client, experiment, run)
        run = client.get_run(run.info.run_id)
    return run, created


def _parent_tags(client: MlflowClient, experiment: str, execution: str) -> dict[str, str]:
    parent = ensure_parent(client, experiment, execution)
    return {MLFLOW_PARENT_RUN_ID: parent, EXECUTION_TAG: execution}


def _adopt(client: MlflowClient, experiment: str, run: Run) -> None:
    """A training whose execution was killed belongs to the one that goes on with it.

    The former parent ends as KILLED. Should it live after all, it sets its own status at its end.
    """
    execution, tags = pipeline_run(), run.data.tags
    if execution is None or tags.get(EXECUTION_TAG) == execution:
        return
    former = tags.get(MLFLOW_PARENT_RUN_ID)
    status = client.get_run(former).info.status if former else None
    if status == "FINISHED":
        return
    for name, value in _parent_tags(client, experiment, execution).items():
        client.set_tag(run.info.run_id, name, value)
    if status == "RUNNING":
        client.set_terminated(former, "KILLED")


def ensure_parent(
    client: MlflowClient, experiment: str, execution: str, name: str | None = None
) -> str:
    """Find or create the parent run; steps that do so at the same time get the same one.

    Args:
        client: the MLflow client.
        experiment: id of the experiment.
        execution: id of the pipeline execution.
        name: name of the run when it has to be created; unset: after the execution.

    Returns:
        The run's id.
    """
    return str(_parent_run(client, experiment, execution, name)[0].info.run_id)


def _parent_run(
    client: MlflowClient, experiment: str, execution: str, name: str | None
) -> tuple[Run, bool]:
    def create() -> Run:
        tags = {PIPELINE_RUN_TAG: execution}
        return client.create_run(experiment, None, tags, name or f"pipeline {execution}")

    key = (PIPELINE_RUN_TAG, execution)
    return find_or_create_run(client, experiment, key, create, settle=True)


def close_parent(
    status: str, metrics: Mapping[str, float] | None = None, execution: str | None = None
) -> bool:
    """End the parent run of a pipeline execution. May be repeated.

    A pipeline that did not finish takes its nested runs along: a step that was killed could not
    say so itself.

    Args:
        status: ``FINISHED``, ``FAILED`` or ``KILLED``.
        metrics: final figures to log to it.
        execution: the pipeline execution; unset: ``LLMCLF_PIPELINE_RUN``.

    Returns:
        False, with a warning in the log, when MLflow could not be used. The pipeline's own outcome
        must not hang on that.
    """
    which = execution or pipeline_run()
    values = {name: float(value) for name, value in (metrics or {}).items()}
    told = _tell_parent(
        [{"op": op.METRICS, "values": values, "step": None}, {"op": op.END, "status": status}],
        which,
    )
    if told and which and status != "FINISHED":
        return _at_store(lambda client, experiment: _end_nested(client, experiment, which, status))
    return told


def _end_nested(client: MlflowClient, experiment: str, execution: str, status: str) -> None:
    for run in tagged_runs(client, experiment, EXECUTION_TAG, execution):
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, status)


def describe_parent(
    tags: Mapping[str, str],
    artifacts: Mapping[Path, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> bool:
    """Tell the parent run of this pipeline execution what came of it. May be repeated.

    Args:
        tags: among them MLflow's own, such as the note that its page shows.
        artifacts: file to the folder that it gets into.
        metrics: final figures.

    Returns:
        False when MLflow could not be used, as :func:`close_parent`.
    """
    entries: list[Entry] = [{"op": op.TAGS, "values": redact_values(dict(tags))}]
    entries += [
        {"op": op.ARTIFACT, "path": str(path.absolute()), "folder": folder}
        for path, folder in (artifacts or {}).items()
    ]
    values = {name: float(value) for name, value in (metrics or {}).items()}
    entries.append({"op": op.METRICS, "values": values, "step": None})
    return _tell_parent(entries, pipeline_run())


def parent_tags() -> dict[str, str]:
    """Tags of the parent run of this pipeline execution; none where nothing has told it anything.

    Raises:
        UserError: when MLflow cannot be used.
    """
    with http_limits(timeout=10, retries=1):
        client = require_reachable(tracking_uri(), "What was logged is kept.")
        experiment = experiment_id(client, experiment_name())
        runs = tagged_runs(client, experiment, PIPELINE_RUN_TAG, pipeline_run() or "")
    return dict(runs[0].data.tags) if runs else {}


def _tell_parent(entries: list[Entry], which: str | None) -> bool:
    if tracking_uri() is None or which is None:
        log.info("there is no parent run: %s or %s is not set", TRACKING_URI, PIPELINE_RUN)
        return False
    entries = [entry | {"time": now_ms()} for entry in entries]

    def tell(client: MlflowClient, experiment: str) -> None:
        Delivery(client, lambda: _parent_run(client, experiment, which, None)).send(entries)

    return _at_store(tell)


def _at_store(act: Callable[[MlflowClient, str], None]) -> bool:
    """Do it with a client and the experiment's id; False where MLflow cannot be used."""
    uri = tracking_uri() or ""
    try:
        with http_limits(timeout=10, retries=1):
            client = connect(uri)
            act(client, experiment_id(client, experiment_name()))
    except Exception as error:
        log.warning("MLflow at %s cannot be used (%s)", redact(uri), short_reason(error))
        return False
    return True
