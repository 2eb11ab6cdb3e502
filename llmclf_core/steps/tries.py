"""An approach's step that is ended from outside again and again: its last try writes that down.

Where memory runs out, the kernel ends everything in a pod, and so does a time limit: nobody is left
to say why. So the tries are counted in the cache, and a step of which none came to an end is the
approach's failure, not that of the whole pipeline.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from llmclf_core.paths import cache_dir, fingerprint
from llmclf_core.steps.state import drop_old

log = logging.getLogger(__name__)

TRIES = "LLMCLF_TRIES"
"""How many tries a step has, the first one included. Unset: one, and none is counted."""

_RUN = "LLMCLF_PIPELINE_RUN"
_KEPT_SECONDS = 30 * 24 * 3600


class Tries:
    """The tries of one step in one pipeline execution.

    Args:
        step: what tells it from the execution's others.
    """

    def __init__(self, *step: object) -> None:
        run, self._allowed = os.environ.get(_RUN), int(os.environ.get(TRIES) or 1)
        self._file: Path | None = None
        if run and self._allowed > 1:
            self._file = cache_dir() / "attempts" / fingerprint(run, *step)

    def begin(self) -> str | None:
        """Count one more.

        Returns:
            Why it is of no use: no other came to an end, and this is the last. None: it may work.
        """
        try:
            ended = self._count() - 1
        except OSError as error:  # the work itself may need no cache
            log.warning("the step's tries cannot be counted: %s", error)
            return None
        if ended + 1 < self._allowed:
            return None
        return (
            f"ended from outside {ended} time{'s' * (ended > 1)}; most likely memory or the time "
            "limit ran out: give more (`memory`, `timeout_hours`) in the recipe's `cluster` section"
        )

    def _count(self) -> int:
        """Tries so far, this one included; 0 where none are counted."""
        if self._file is None:
            return 0
        self._file.parent.mkdir(parents=True, exist_ok=True)
        for other in self._file.parent.iterdir():
            drop_old(other, _KEPT_SECONDS)
        with self._file.open("ab") as file:
            file.write(b".")
            return file.tell()

    def end(self) -> None:
        """The step has its result: forget its tries."""
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
