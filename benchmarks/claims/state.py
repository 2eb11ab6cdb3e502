"""Where studies lie, and which is run next."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims.portable import portable, save
from benchmarks.claims.study import Study
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluation import HEADER, Evaluation
from llmclf_core.evaluation.names import duration
from llmclf_core.files import atomic_directory, write_json

log = logging.getLogger(__name__)

RESULT = "study.json"

Trial = tuple[str, int | None]
"""Approach and seed."""


@dataclass(frozen=True)
class State:
    """Runs and results, each below the name and the key of its study.

    Attributes:
        root: runs, and results as the runs left them; on this machine only.
        kept: results to be shared: with them a study counts as done on any machine.
    """

    root: Path
    kept: Path

    def runs(self, study: Study) -> Path:
        """Runs directory of a study; its own, so that what lies there is of this recipe."""
        return self.root / f"{study.name}-{study.key}"

    def result(self, study: Study) -> dict[str, Any] | None:
        """What :meth:`finish` wrote, or None."""
        files = [self._shared(study) / RESULT, self.runs(study) / RESULT]
        found = next((file for file in files if file.exists()), None)
        return dict(json.loads(found.read_text("utf-8"))) if found else None

    def finish(self, study: Study, summary: dict[str, Any], **more: Any) -> None:
        """Note that a study is done; from then on it is not run again."""
        self.runs(study).mkdir(parents=True, exist_ok=True)
        write_json(self.runs(study) / RESULT, summary | more)

    def keep(self, study: Study) -> None:
        """Share a study that was done here: no texts, and no names of places on this machine."""
        shared, summary = self._shared(study), self.result(study)
        if summary is None or shared.exists():
            return
        with atomic_directory(shared) as draft:
            for (approach, seed), evaluation in self.evaluations(study).items():
                save(evaluation, draft / (approach if seed is None else f"{approach}-{seed}"))
            write_json(draft / RESULT, portable(summary))

    def evaluations(self, study: Study) -> dict[Trial, Evaluation]:
        """The latest evaluation of each trial; a run that was killed may have left earlier ones."""
        shared = self._shared(study)
        places = shared.glob(f"*/{HEADER}"), self.runs(study).glob(f"*/artifacts/**/{HEADER}")
        found = sorted(places[not shared.exists()], key=lambda file: file.stat().st_mtime_ns)
        loaded = (Evaluation.load(file.parent) for file in found)
        return {(e.approach, e.seed): e for e in loaded}

    def _shared(self, study: Study) -> Path:
        return self.kept / f"{study.name}-{study.key}"


def run_all(
    studies: Sequence[Study],
    state: State,
    hours: float,
    execute: Callable[[Study, State], None],
    now: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Run what is not done yet, in order, as long as the time allows.

    Args:
        studies: from the most to the least worth.
        state: what is done.
        hours: for this call; a study that is expected to take longer than what is left waits.
        execute: runs one study and notes that it is done.
        now: clock, in seconds.

    Returns:
        Names of the studies that failed; the others go on.
    """
    end, failed = now() + 3600 * hours, []
    for study in studies:
        left = end - now()
        if state.result(study) is not None:
            log.info("%s: done before", study.name)
        elif study.seconds > left:
            log.info(
                "%s: not started, it takes about %s and %s are left",
                *(study.name, duration(study.seconds), duration(max(left, 0.0))),
            )
        else:
            log.info("%s: begins, takes about %s", study.name, duration(study.seconds))
            failed += _tried(study, state, execute)
    return failed


def _tried(study: Study, state: State, execute: Callable[[Study, State], None]) -> list[str]:
    try:
        execute(study, state)
    except UserError as error:
        log.error("%s: %s", study.name, error)
        return [study.name]
    log.info("%s: done", study.name)
    return []
