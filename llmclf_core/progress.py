"""Progress of long work: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Ticker:
    """Counts steps of known total and shows them, with the time that is left."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._done, self._first = what, total, done, done
        self._begun = self._shown = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=what, leave=False) if terminal else None

    def update(self, steps: int = 1, **figures: float) -> None:
        """Count ``steps`` more; ``figures`` are shown beside."""
        self._done += steps
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()}, refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._shown >= _SECONDS_BETWEEN_LINES or self._done == self._total:
            self._line(figures)

    def _line(self, figures: dict[str, float]) -> None:
        self._shown = time.monotonic()
        spent = self._shown - self._begun
        left = spent * (self._total - self._done) / max(self._done - self._first, 1)
        shown = "".join(f", {k} {v:.4g}" for k, v in figures.items())
        log.info("%s: %d/%d%s, %.0f s left", self._what, self._done, self._total, shown, left)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
