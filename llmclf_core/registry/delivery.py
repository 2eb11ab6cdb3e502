"""From journal entries to one MLflow run, so that sending twice is the same as sending once."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from llmclf_core.registry import journal as op
from llmclf_core.registry.journal import Entry

log = logging.getLogger(__name__)

_PARAM_CHARS, _TAG_CHARS, _KEY_CHARS = 6000, 5000, 250
_PARAMS, _METRICS = 100, 1000
_LARGEST = 1.7976931348623157e308  # what MLflow's SQL store makes of infinity
_ODD = re.compile(r"[^\w./: -]")

T = TypeVar("T")


def now_ms() -> int:
    """Milliseconds since the epoch, MLflow's unit of time."""
    return int(time.time() * 1000)


class Delivery:
    """Sends entries to a run, skipping what the run has already.

    What the run has is asked of the server once, and again after any failure: then nobody knows
    whether the last call arrived.

    Args:
        client: the MLflow client.
        open_run: finds or creates the run; says whether it is new.
    """

    def __init__(self, client: MlflowClient, open_run: Callable[[], tuple[Run, bool]]) -> None:
        self._client = client
        self._open_run = open_run
        self.run_id: str | None = None
        self._forget()

    def _forget(self) -> None:
        self._known = self._empty = False
        self._params: dict[str, str] = {}
        self._datasets: set[tuple[str, str]] = set()
        self._points: dict[str, dict[int, float]] = {}
        self._ended = 0

    def send(self, entries: Sequence[Entry]) -> None:
        """Send entries in bulk; safe to repeat after a failure.

        Raises:
            Exception: whatever MLflow raises; nothing is lost, send the same entries again.
        """
        try:
            self._look_up()
            self._send_values(entries)
            self._send_datasets(_of(entries, op.DATASET))
            for entry in _of(entries, op.ARTIFACT):
                self._send_artifact(Path(entry["path"]), entry["folder"])
            self._send_status(entries)
        except BaseException:
            self._forget()
            raise

    def _look_up(self) -> None:
        if self._known:
            return
        run, self._empty = self._open_run()
        self.run_id = str(run.info.run_id)
        self._params = dict(run.data.params)
        if run.inputs is not None:
            sets = [item.dataset for item in run.inputs.dataset_inputs]
            self._datasets = {(item.name, item.digest) for item in sets}
        self._ended = run.info.end_time or 0
        self._known = True

    def _send_values(self, entries: Sequence[Entry]) -> None:
        tags = [
            RunTag(_key(key), str(value)[:_TAG_CHARS])
            for entry in _of(entries, op.TAGS)
            for key, value in entry["values"].items()
        ]
        params = list(self._new_params(_of(entries, op.PARAMS)))
        metrics = list(self._new_points(_of(entries, op.METRICS)))
        for some_params in _chunks(params, _PARAMS):
            self._client.log_batch(self.run_id, params=some_params)
        for some_tags in _chunks(tags, _PARAMS):
            self._client.log_batch(self.run_id, tags=some_tags)
        for some_metrics in _chunks(metrics, _METRICS):
            self._client.log_batch(self.run_id, metrics=some_metrics)

    def _new_params(self, entries: Iterable[Entry]) -> Iterator[Param]:
        for entry in entries:
            for name, value in entry["values"].items():
                key, text = _key(name), str(value)[:_PARAM_CHARS]
                if key not in self._params:
                    self._params[key] = text
                    yield Param(key, text)
                elif self._params[key] != text:
                    # MLflow never changes a parameter; one odd value must not block the rest.
                    log.warning("parameter %s stays %r, not %r", key, self._params[key], text)

    def _new_points(self, entries: Iterable[Entry]) -> Iterator[Metric]:
        for entry in entries:
            final = entry["step"] is None
            step = 0 if final else int(entry["step"])
            for name, value in entry["values"].items():
                key = _key(name)
                points = self._points_of(key)
                if step in points and not (final and not _same(points[step], value)):
                    continue
                points[step] = value
                yield Metric(key, value, entry["time"], step)

    def _points_of(self, key: str) -> dict[int, float]:
        if key not in self._points:
            history = [] if self._empty else self._client.get_metric_history(self.run_id, key)
            ordered = sorted(history, key=lambda point: point.timestamp)
            self._points[key] = {point.step: point.value for point in ordered}
        return self._points[key]

    def _send_datasets(self, entries: Iterable[Entry]) -> None:
        inputs = []
        for entry in entries:
            # MLflow knows a dataset by name and digest, so the context has to be in the name.
            name = f"{entry['name']}/{entry['context']}"
            if (name, entry["digest"]) not in self._datasets:
                self._datasets.add((name, entry["digest"]))
                inputs.append(_dataset_input(name, entry))
        if inputs:
            self._client.log_inputs(self.run_id, datasets=inputs)

    def _send_artifact(self, path: Path, folder: str | None) -> None:
        if path.is_dir():
            where = f"{folder}/{path.name}" if folder else path.name
            self._client.log_artifacts(self.run_id, str(path), where)
        elif path.exists():
            self._client.log_artifact(self.run_id, str(path), folder)
        else:
            log.warning("%s is gone and cannot be logged to MLflow", path)

    def _send_status(self, entries: Sequence[Entry]) -> None:
        last = next((e for e in reversed(entries) if e["op"] in (op.RESUME, op.END)), None)
        if last is None or last["time"] <= self._ended:
            return
        if last["op"] == op.END:
            self._client.set_terminated(self.run_id, last["status"], last["time"])
            self._ended = last["time"]
        elif not self._empty:
            self._client.update_run(self.run_id, status="RUNNING")


def _dataset_input(name: str, entry: Entry) -> DatasetInput:
    return DatasetInput(
        Dataset(
            name=name,
            digest=entry["digest"],
            source_type="llmclf",
            source=entry["source"],
            profile=f'{{"num_rows": {entry["rows"]}}}',
        ),
        [InputTag(MLFLOW_DATASET_CONTEXT, entry["context"])],
    )


def _of(entries: Sequence[Entry], operation: str) -> list[Entry]:
    return [entry for entry in entries if entry["op"] == operation]


def _key(name: str) -> str:
    return _ODD.sub("_", name)[:_KEY_CHARS]


def _same(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return _clip(one) == _clip(other)


def _clip(value: float) -> float:
    return max(-_LARGEST, min(_LARGEST, value))


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
