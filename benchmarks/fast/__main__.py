"""Measure speed and memory beside the reference recipe, then make the table.

python -m benchmarks.fast run [--short] [--only ID] [--again] [--results DIR]
python -m benchmarks.fast profile --only ID [--short] [--results DIR]
python -m benchmarks.fast table [--results DIR]
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# The figures are for processors; both sides would take a GPU that is there.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from benchmarks.fast import profiling
from benchmarks.fast.cases import CASES
from benchmarks.fast.measure import measure, profile, size_of
from benchmarks.fast.results import Results, key_of, replace_table, table
from benchmarks.fast.turns import ROOT, WorkerError
from benchmarks.fast.work import Case, Settings
from llmclf_core.errors import UserError, exit_on_user_error
from llmclf_core.models.base import resolve
from llmclf_core.models.bfloat16 import native_bfloat16
from llmclf_core.paths import cache_dir
from llmclf_core.steps.process import set_up_logging
from pipelines.assets import fetch

log = logging.getLogger(__name__)

README = ROOT / "benchmarks" / "README.md"
RESULTS = ROOT / "benchmarks" / "results"

Measure = Callable[[Case, Settings], dict[str, Any]]


def main() -> None:
    """Entry point: 0 when no case failed, 1 when one did, 2 for a user's mistake."""
    arguments = _arguments()
    set_up_logging()
    results = Results(arguments.results)
    with exit_on_user_error():
        if arguments.what == "table":
            results.summarise(CASES)
            README.write_text(replace_table(README.read_text("utf-8"), lines_of(results)), "utf-8")
            return
        if arguments.what == "profile":
            _profile(_chosen(arguments.only), results, arguments.short)
            return
        failed = run(_chosen(arguments.only), results, arguments.short, arguments.again, _measured)
    print("\n".join(table(CASES, results.all(CASES))))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def lines_of(results: Results) -> list[str]:
    """Of Markdown: the table of the figures and, if there are any, that of the profiles."""
    profiled = list(profiling.table(CASES, results.profiles(CASES)))
    return [*table(CASES, results.all(CASES)), *([""] if profiled else []), *profiled]


def run(
    cases: Sequence[Case], results: Results, short: bool, again: bool, measured: Measure
) -> list[str]:
    """Measure what does not hold any more.

    Args:
        cases: which ones.
        results: where they are kept.
        short: at the small size.
        again: those that hold, too.
        measured: measures a case at a size.

    Returns:
        Ids of the cases that failed; the others go on.
    """
    failed = []
    for case in cases:
        settings = size_of(case, short)
        key = key_of(case, settings)
        if results.holds(case, key) and not again:
            log.info("%s: measured before; --again measures anew", case.id)
            continue
        log.info("%s: begins", case.id)
        try:
            found = measured(case, settings)
        except (UserError, WorkerError) as error:
            log.error("%s: %s", case.id, error)
            failed.append(case.id)
            continue
        command = command_of(case, short)
        results.write(case, found, command=command, settings=asdict(settings), key=key)
        results.summarise(CASES)
        log.info("%s: %.3f %s", case.id, found["value"], case.unit)
    return failed


def command_of(case: Case, short: bool, what: str = "run") -> str:
    """What measures this case alone."""
    size = ["--short"] if short else []
    return shlex.join(["python", "-m", "benchmarks.fast", what, *size, "--only", case.id])


def _profile(cases: Sequence[Case], results: Results, short: bool) -> None:
    for case in cases:
        if not case.by_turns:
            raise UserError(f"{case.id} does not work by turns; only such cases are profiled")
        settings = size_of(case, short)
        found = profile(case, settings, cache_dir() / "bench", _base())
        found |= {"settings": asdict(settings), "command": command_of(case, short, "profile")}
        results.write_profile(case, found)
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in found["shares"].items())
        log.info("%s: %s", case.id, shares)


def _measured(case: Case, settings: Settings) -> dict[str, Any]:
    return measure(case, settings, cache_dir() / "bench", _base())


def _base() -> Path:
    return resolve(str(fetch("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")).directory


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fast", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("what", choices=["run", "profile", "table"])
    parser.add_argument("--short", action="store_true", help="a few minutes, and no true figures")
    parser.add_argument("--only", metavar="ID", help="one case")
    parser.add_argument("--again", action="store_true", help="measure what holds, too")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    return parser.parse_args()


def _chosen(only: str | None) -> list[Case]:
    if only is None:
        return [case for case in CASES if not (case.stand_in and native_bfloat16())]
    chosen = [case for case in CASES if case.id == only]
    if not chosen:
        raise UserError(f"no case {only}; there are {', '.join(case.id for case in CASES)}")
    return chosen


if __name__ == "__main__":
    main()
