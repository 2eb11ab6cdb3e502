"""Measure one case: pairs of turns, and the machine's ceiling before and after."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.claims.portable import made_on
from benchmarks.fast.ceiling import ceilings
from benchmarks.fast.prepare import prepare
from benchmarks.fast.statistics import median_and_range, order
from benchmarks.fast.turns import Worker
from benchmarks.fast.work import Case, Record, Settings, Work, resolved
from llmclf_core.models.bfloat16 import native_bfloat16
from llmclf_core.registry.lineage import versions

LIBRARIES = ["accelerate", "bitsandbytes", "trl"]

Pair = dict[str, Record]
"""``ours`` and ``reference``."""


def size_of(case: Case, short: bool) -> Settings:
    """The size that suits this machine, resolved."""
    settings = case.short if short else case.full
    if case.emulated is not None and not native_bfloat16():
        settings = replace(case.emulated, repetitions=1) if short else case.emulated
    return resolved(settings, native_bfloat16())


def measure(case: Case, settings: Settings, root: Path, base: Path) -> dict[str, Any]:
    """Measure a case.

    Args:
        case: what.
        settings: at what size.
        root: where prepared rows are kept.
        base: directory of the base model.

    Returns:
        ``value``, ``low``, ``high``; every repetition; the machine and its ceiling.

    Raises:
        UserError: when models or texts cannot be fetched.
        WorkerError: when a side breaks.
    """
    with tempfile.TemporaryDirectory(prefix="llmclf-bench-") as scratch:
        work = prepare(case, settings, root, base, Path(scratch))
        before = ceilings(base)
        pairs, quality = (_by_turns if case.by_turns else _whole)(case, work)
        after = ceilings(base)
    ratios = [case.compare(pair["ours"], pair["reference"]) for pair in pairs]
    told = [{"ratio": ratio} | pair for ratio, pair in zip(ratios, pairs, strict=True)]
    made = made_on()
    return median_and_range(ratios) | {
        "quality": quality,
        "repetitions": told,
        "ceiling_gflops": {"before": before, "after": after},
        "made_on": made | {"versions": made["versions"] | versions(LIBRARIES)},
    }


def profile(case: Case, settings: Settings, root: Path, base: Path) -> dict[str, Any]:
    """Where our side's time goes; arguments and errors as for :func:`measure`.

    Returns:
        As :func:`benchmarks.fast.profiling.profiled`, and the machine and its ceiling.
    """
    with tempfile.TemporaryDirectory(prefix="llmclf-bench-") as scratch:
        work = prepare(case, settings, root, base, Path(scratch))
        before = ceilings(base)
        with Worker("benchmarks.fast.profiling:profiled", (case.ours, work)) as worker:
            found = worker.finish()
    return found | {"ceiling_gflops": before, "made_on": made_on()}


def _by_turns(case: Case, work: Work) -> tuple[list[Pair], Pair]:
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(side, _own(work, name)))
            for name, side in _sides(case).items()
        }
        for worker in workers.values():
            worker.turn(1)  # loads the model, and warms up
        pairs = [
            {name: asdict(workers[name].turn(work.settings.steps)) for name in names}
            for names in order(work.settings.repetitions)
        ]
        return pairs, {name: worker.finish() for name, worker in workers.items()}


def _whole(case: Case, work: Work) -> tuple[list[Pair], Pair]:
    sides, pairs = _sides(case), []
    for i, names in enumerate(order(work.settings.repetitions)):
        pair: Pair = {}
        for name in names:
            with Worker(sides[name], _own(work, f"{name}-{i}")) as worker:
                pair[name] = worker.finish()
        pairs.append(pair)
    return pairs, {}


def _sides(case: Case) -> dict[str, str]:
    return {"ours": case.ours, "reference": case.reference}


def _own(work: Work, name: str) -> Work:
    scratch = work.scratch / name
    scratch.mkdir()
    return replace(work, scratch=scratch)
