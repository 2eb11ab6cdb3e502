"""Re-run the paper's claims: studies that can be killed and called again, then the table.

python -m benchmarks.claims run [--state DIR] [--kept DIR] [--hours H] [--only NAME]
python -m benchmarks.claims table [--state DIR] [--kept DIR] [--output DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.claims.corpora import digests, prepare
from benchmarks.claims.plan import STUDIES
from benchmarks.claims.portable import made_on
from benchmarks.claims.state import State, run_all
from benchmarks.claims.study import Study
from benchmarks.claims.table import write_table
from llmclf_core.errors import UserError, exit_on_user_error
from llmclf_core.evaluation.names import duration
from llmclf_core.paths import cache_dir
from llmclf_core.steps.process import set_up_logging

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Entry point: 0 when no study failed, 1 when one did, 2 for a user's mistake."""
    arguments = _arguments()
    set_up_logging()
    state = State(arguments.state, arguments.kept)
    with exit_on_user_error():
        if arguments.what == "table":
            return write_table(STUDIES, state, arguments.output)
        chosen = _chosen(arguments.only)
        prepare()
        failed = run_all(chosen, state, arguments.hours, execute)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def execute(study: Study, state: State) -> None:
    """Run a study's pipeline, note that it is done, with the corpora's digests, and keep it."""
    from pipelines.local import run

    finished = run(study.parsed(), state.runs(study))
    state.finish(study, finished.summary, digests=digests(), made_on=made_on())
    state.keep(study)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=_about())
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument(
        "--state", type=Path, default=cache_dir() / "claims-state", help="runs, on this machine"
    )
    parser.add_argument(
        "--kept", type=Path, default=RESULTS / "claims", help="finished studies, to be shared"
    )
    parser.add_argument("--hours", type=float, default=3.0, help="for this call of run")
    parser.add_argument("--only", help="one study")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the table goes")
    return parser.parse_args()


def _about() -> str:
    total = sum(study.seconds for study in STUDIES)
    return f"{len(STUDIES)} studies of arXiv 2512.12677's claims, about {duration(total)} in all"


def _chosen(only: str | None) -> list[Study]:
    chosen = [study for study in STUDIES if only in (None, study.name)]
    if not chosen:
        names = ", ".join(study.name for study in STUDIES)
        raise UserError(f"no study {only}; there are {names}")
    return chosen


if __name__ == "__main__":
    main()
