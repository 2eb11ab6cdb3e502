"""Tracking that survives: every operation goes to a journal first, and from there to MLflow."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from llmclf_core.errors import UserError
from llmclf_core.registry import journal as op
from llmclf_core.registry.client import TRACKING_URI, connect, http_limits, tracking_uri
from llmclf_core.registry.courier import Courier
from llmclf_core.registry.delivery import now_ms
from llmclf_core.registry.journal import JOURNAL, Entry, Journal, read_journal, undelivered
from llmclf_core.registry.redact import redact, redact_values
from llmclf_core.registry.runs import delivery_to, run_entry

log = logging.getLogger(__name__)

_TIMEOUT, _RETRIES = 10, 0
_FLUSH_SECONDS = 60.0


class Tracker:
    """One nested run. A call returns as soon as the operation is in the journal.

    Made by :meth:`open` or :meth:`resume`. Without ``MLFLOW_TRACKING_URI`` only the journal is
    written. Safe to use from several threads.

    Attributes:
        run_key: identifies the run for ever.
        path: the journal.
    """

    def __init__(self, path: Path, head: Entry, entries: list[Entry], waiting: list[Entry]) -> None:
        self.path = path
        self.run_key: str = head["run_key"]
        self._steps = _last_steps(entries)
        self._journal = Journal(path)
        self._limits = ExitStack()
        self._courier: Courier | None = None
        if uri := tracking_uri():
            self._limits.enter_context(http_limits(_TIMEOUT, _RETRIES))
            self._courier = Courier(lambda: delivery_to(connect(uri), head), waiting, uri, path)
        else:
            log.info("%s is not set: the run is only written to %s", TRACKING_URI, path)
        if not entries:
            self._journal.append(head)

    @classmethod
    def open(
        cls, journal: Path, *, run_key: str, name: str, tags: Mapping[str, Any] | None = None
    ) -> Tracker:
        """Start a run, or go on with the one that the journal tells of; use it in a ``with``.

        An exception ends the run as FAILED, Ctrl-C as KILLED; otherwise it ends as FINISHED.

        Args:
            journal: the journal file; kept between the attempts of one training.
            run_key: the same key is the same run.
            name: the run's name.
            tags: set on the run.

        Raises:
            UserError: when the journal belongs to another run, is damaged or cannot be written.
        """
        entries = _own_entries(journal, run_key)
        head = entries[0] if entries else run_entry(run_key, name)
        tracker = cls(journal, head, entries, undelivered(entries))
        tracker._record(op.RESUME)
        tracker.tags(tags or {})
        return tracker

    @classmethod
    def resume(cls, classifier: Path, journal: Path) -> Tracker:
        """Go on with a classifier's training run, in a later step; use it in a ``with``.

        What the training could not send is sent now. The classifier's own journal is only read; a
        classifier without one gets a new run.

        Args:
            classifier: directory of the classifier, with its ``tracking.jsonl``.
            journal: the journal of this step.

        Raises:
            UserError: when a journal belongs to another run, is damaged or cannot be written.
        """
        trained = read_journal(classifier / JOURNAL) if (classifier / JOURNAL).exists() else []
        head = trained[0] if trained else run_entry(uuid.uuid4().hex, classifier.name)
        entries = _own_entries(journal, head["run_key"] if trained else None)
        waiting = undelivered(trained) + undelivered(entries)
        tracker = cls(journal, entries[0] if entries else head, entries, waiting)
        tracker._record(op.RESUME)
        return tracker

    @property
    def run_id(self) -> str | None:
        """The MLflow run's id; None while MLflow cannot be used."""
        if self._courier and self._courier.run_id is None:
            self._courier.flush(_FLUSH_SECONDS)
        return self._courier.run_id if self._courier else None

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; values become text, cut at 6000 characters. Never pass secrets."""
        self._record(op.PARAMS, values=redact_values(dict(values)))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics.

        Args:
            values: name to value.
            step: a point that the run already has at this step stays as it is (a resumed training
                repeats steps). None: a final figure, which a later one replaces.
        """
        numbers = {name: float(value) for name, value in values.items()}
        entry = {"values": numbers, "step": step}
        _note_steps(self._steps, entry)
        self._record(op.METRICS, **entry)

    def next_step(self, name: str) -> int:
        """The step after the last one at which this metric was logged; 0 for a new one."""
        return self._steps.get(name, -1) + 1

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; a later value replaces an earlier one."""
        if values:
            self._record(op.TAGS, values=redact_values(dict(values)))

    def dataset(self, digest: str, name: str, source: str, rows: int, context: str) -> None:
        """Log a dataset input.

        Args:
            digest: fingerprint of the corpus.
            name: the corpus' name; the run shows it as ``name/context``.
            source: where it was read from.
            rows: how many rows.
            context: ``train``, ``validation`` or ``test``.
        """
        values = {"digest": digest[:36], "name": name, "source": redact(source)}
        self._record(op.DATASET, **values, rows=rows, context=context)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file or a directory, which must stay where it is until the run is closed."""
        self._record(op.ARTIFACT, path=str(path.absolute()), folder=folder)

    def flush(self, timeout: float = _FLUSH_SECONDS) -> bool:
        """Send what waits; whether MLflow has everything now."""
        if self._courier is None or not self._courier.flush(timeout):
            return False
        self._journal.append({"op": op.DELIVERED})
        return True

    def _record(self, operation: str, **values: object) -> None:
        entry: Entry = {"op": operation, "time": now_ms(), **values}
        self._journal.append(entry)
        if self._courier:
            self._courier.put(entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is None:
            self.close("FINISHED")
            return
        self.tags({"llmclf.error": f"{type(error).__name__}: {error}"})
        self.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    def close(self, status: str) -> None:
        """End the run as ``FINISHED``, ``FAILED`` or ``KILLED``, and send what waits."""
        try:
            self._record(op.END, status=status)
            sent = self.flush()
        finally:
            left = self._courier.close() if self._courier else 0
            self._limits.close()
            self._journal.close()
        if self._courier and not sent:
            log.warning("MLflow does not have %d operations yet; %s has them", left, self.path)


def replay(journal: Path) -> bool:
    """Send a whole journal again; MLflow ends with each thing exactly once.

    Returns:
        False, with a warning in the log, when MLflow cannot be used.

    Raises:
        UserError: when the journal is missing or damaged.
    """
    entries, uri = read_journal(journal), tracking_uri()
    if uri is None or not entries:
        log.warning("%s is not replayed: %s is not set, or it is empty", journal, TRACKING_URI)
        return False
    head = entries[0]
    with http_limits(_TIMEOUT, _RETRIES):
        courier = Courier(lambda: delivery_to(connect(uri), head), entries[1:], uri, journal)
        sent = courier.flush(_FLUSH_SECONDS)
        courier.close()
    return sent


def _own_entries(journal: Path, run_key: str | None) -> list[Entry]:
    entries = read_journal(journal) if journal.exists() else []
    if entries and run_key is not None and entries[0]["run_key"] != run_key:
        raise UserError(
            f"the tracking journal {journal} belongs to another run ({entries[0]['run_key']}, not "
            f"{run_key}); choose another directory, or remove the file"
        )
    return entries


def _last_steps(entries: list[Entry]) -> dict[str, int]:
    steps: dict[str, int] = {}
    for entry in entries:
        if entry["op"] == op.METRICS:
            _note_steps(steps, entry)
    return steps


def _note_steps(steps: dict[str, int], entry: Entry) -> None:
    if (step := entry["step"]) is not None:
        steps |= {name: max(steps.get(name, step), step) for name in entry["values"]}
