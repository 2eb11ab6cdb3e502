"""Wait for a run, and say how its steps fare."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from llmclf_core.errors import UserError
from pipelines.kubeflow.connect import Client, Server
from pipelines.kubeflow.errors import explain

log = logging.getLogger(__name__)

SUCCEEDED = "SUCCEEDED"
_ENDED = {SUCCEEDED, "FAILED", "CANCELED", "SKIPPED"}
_HOW = {"FAILED": "failed", "CANCELED": "was cancelled", "SKIPPED": "was skipped"}
_SILENT = {"PENDING", "RUNTIME_STATE_UNSPECIFIED", None}
_INNER = re.compile(r"root|executor|iteration-.*|(exit-handler|for-loop|condition)-\d+")
"""Kubeflow's own entries, around and inside the steps."""
_DRIVER = "-driver"
_TRY = re.compile(r"\(\d+\)$")

_POLL_SECONDS = 10.0
_PATIENCE_SECONDS = 600.0


def wait(
    client: Client,
    to: Server,
    run_id: str,
    titles: Mapping[str, str],
    minutes: float | None = None,
) -> Any:
    """Log each change of a step's state until the run has ended.

    A server that cannot be reached meanwhile is tried again for ten minutes.

    Args:
        client: the client.
        to: its server.
        run_id: the run.
        titles: of the steps, by their names in the pipeline.
        minutes: to wait at most; None: without limit.

    Returns:
        The run as the server describes it at its end.

    Raises:
        UserError: when time is up, or the server refuses.
    """
    begun = time.monotonic()
    seen: dict[str, str] = {}
    while True:
        run = _ask(client, to, run_id)
        _tell(run, titles, seen)
        if run.state in _ENDED:
            return run
        if minutes is not None and time.monotonic() - begun > minutes * 60:
            raise UserError(f"not done after {minutes:g} minutes")
        time.sleep(_POLL_SECONDS)


def _ask(client: Client, to: Server, run_id: str) -> Any:
    last = time.monotonic() + _PATIENCE_SECONDS
    with explain(to.host, namespace=to.namespace or ""):
        while True:
            try:
                return client.get_run(run_id)
            except (HTTPError, ApiException) as error:
                passing = not isinstance(error, ApiException) or error.status >= 500
                if not passing or time.monotonic() > last:
                    raise
            log.warning("the server does not answer; the run goes on, and so does the waiting")
            time.sleep(_POLL_SECONDS)


def _tell(run: Any, titles: Mapping[str, str], seen: dict[str, str]) -> None:
    for task, name in _tasks(run):
        driver = name.endswith(_DRIVER)
        if not driver and task.state not in _SILENT and seen.get(task.task_id) != task.state:
            seen[task.task_id] = task.state
            log.info("%s: %s", titles.get(name, name), task.state.lower())
    if run.state not in _SILENT and seen.get("") != run.state:
        seen[""] = run.state
        log.info("run: %s", run.state.lower())


def _tasks(run: Any) -> list[tuple[Any, str]]:
    """Steps and their drivers, each with its name in the pipeline."""
    found = (run.run_details and run.run_details.task_details) or []
    named = [(task, _TRY.sub("", task.display_name or "")) for task in found]
    return [(task, name) for task, name in named if name and not _INNER.fullmatch(name)]


def failed_steps(run: Any, titles: Mapping[str, str]) -> list[str]:
    """Titles of the steps that failed. One whose driver failed has no entry of its own."""
    names = {name.removesuffix(_DRIVER) for task, name in _tasks(run) if task.state == "FAILED"}
    return sorted(titles.get(name, name) for name in names)


def describe_failure(run: Any, names: Iterable[str]) -> str:
    """One line: how the run ended, where, and what the server says about it."""
    where = f" in {', '.join(names)}" if names else ""
    said = (run.error and run.error.message) or ""
    return f"the run {_HOW[run.state]}{where}" + (f": {' '.join(said.split())}" if said else "")
