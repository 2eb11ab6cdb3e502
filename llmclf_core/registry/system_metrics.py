"""CPU, memory, disk and GPU use while a run lasts, in its tracking journal as ``system/…``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from llmclf_core.registry.tracking import Tracker

log = logging.getLogger(__name__)

PREFIX = "system/"
_FIRST = PREFIX + "cpu_utilization_percentage"


@contextmanager
def system_metrics(tracker: Tracker, seconds: float = 5.0) -> Iterator[None]:
    """Sample from a background thread as long as the block runs.

    A resumed run goes on counting steps where it stopped. Trouble while sampling ends the sampling
    and never the run.

    Args:
        tracker: where the samples go.
        seconds: between two samples.
    """
    stop = threading.Event()
    thread = threading.Thread(
        target=_sample, args=(tracker, seconds, stop), name="system-metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _sample(tracker: Tracker, seconds: float, stop: threading.Event) -> None:
    try:
        monitors = _monitors()
        step = tracker.next_step(_FIRST)
        while not stop.wait(seconds):
            tracker.metrics(_read(monitors), step)
            step += 1
    except Exception as error:
        log.warning("system metrics end here: %s: %s", type(error).__name__, error)


def _read(monitors: list[Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values |= {PREFIX + name: value for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return values


def _monitors() -> list[Any]:
    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except (ImportError, RuntimeError) as error:
        log.debug("no GPU is watched: %s", error)
    return monitors
