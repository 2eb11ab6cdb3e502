"""Progress of long work: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Ticker:
    """Counts steps or rows and shows them, with the time that is left where the total is known.

    A context manager: the last line is shown at its end, unless that is an exception.

    Attributes:
        done: steps so far.
    """

    def __init__(self, what: str, total: int | None = None, done: int = 0) -> None:
        """Args:
        what: what is being done.
        total: how many steps there will be, when that is known.
        done: steps that an earlier attempt has done.
        """
        self._what, self._total, self.done, self._first = what, total, done, done
        self._begun = self._shown = time.monotonic()
        self._figures: dict[str, float] = {}
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=what, leave=False) if terminal else None

    def __enter__(self) -> Ticker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None:
            self._line()

    def update(self, steps: int = 1, **figures: float) -> None:
        """Count ``steps`` more; ``figures`` are shown beside."""
        self.done += steps
        self._figures = figures
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()}, refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._shown >= _SECONDS_BETWEEN_LINES:
            self._line()

    def _line(self) -> None:
        self._shown = time.monotonic()
        spent = self._shown - self._begun
        shown = f"{self.done:,}"
        if self._total:
            shown += f" of {self._total:,}"
        shown += "".join(f", {k} {v:.4g}" for k, v in self._figures.items())
        shown += f", {spent:.0f} s"
        steps = self.done - self._first
        if self._total and self._total > self.done and steps:
            shown += f", {spent * (self._total - self.done) / steps:.0f} s left"
        log.info("%s: %s", self._what, shown)
