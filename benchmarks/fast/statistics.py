"""From the records of pairs to a figure with a range."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

from benchmarks.fast.work import Record

Name = Literal["ours", "reference"]


def order(repetitions: int) -> Iterator[tuple[Name, Name]]:
    """Who goes first in each pair: ours, reference, reference, ours, ours, reference, …

    What drifts (temperature, other processes) then favours neither.
    """
    for i in range(repetitions):
        yield ("reference", "ours") if i % 2 else ("ours", "reference")


def median_and_range(ratios: Sequence[float]) -> dict[str, float]:
    """``value`` (median), ``low`` and ``high`` (range) of the pairs' ratios."""
    return {
        "value": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def times_faster(ours: Record, reference: Record) -> float:
    """Work a second over work a second."""
    return (ours["amount"] / ours["seconds"]) / (reference["amount"] / reference["seconds"])


def times_the_memory(ours: Record, reference: Record) -> float:
    """Peak memory over peak memory."""
    return float(ours["peak_memory"] / reference["peak_memory"])


def times_sooner(ours: Record, reference: Record) -> float:
    """Seconds until a validation shows the reference's last F1, reference over ours; 0 when ours
    never does."""
    wanted = reference["validations"][-1]["macro_f1"]
    mine, its = _reached(ours, wanted), _reached(reference, wanted)
    return 0.0 if mine is None or its is None else its / mine


def _reached(record: Record, wanted: float) -> float | None:
    found = (v["seconds"] for v in record["validations"] if v["macro_f1"] >= wanted)
    return next(found, None)
