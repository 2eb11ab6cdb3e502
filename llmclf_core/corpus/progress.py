"""Progress of the long loops: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

_LOG = logging.getLogger(__name__)
_SECONDS = 10.0


class Progress:
    """Counts rows; used as a context manager.

    Args:
        what: what is being done to the rows.
        total: how many there will be, when that is known.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what, self._total = what, total
        self._bar = tqdm(
            desc=what, total=total, unit=" rows", unit_scale=True, disable=not sys.stderr.isatty()
        )
        self._rows = 0
        self._start = self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.close()
        if kind is None:
            self._log()

    def update(self, rows: int) -> None:
        """Add ``rows`` to the count."""
        self._rows += rows
        self._bar.update(rows)
        if time.monotonic() - self._logged > _SECONDS:
            self._log()

    def _log(self) -> None:
        self._logged = time.monotonic()
        of = f" of {self._total:,}" if self._total else ""
        seconds = self._logged - self._start
        _LOG.info("%s: %s%s rows, %.0f s", self._what, f"{self._rows:,}", of, seconds)
