"""What a person sees while KFP's local runner works: our lines, and everything in a file."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_OURS = re.compile(r"^\s*(\d\d:\d\d:\d\d \S|error: )")
_CACHED = re.compile(r"Task (\S+) cache hit")
_FAILED = re.compile(r"Task .*'(\S+)'.* finished with status .*FAILURE")
_INNER = re.compile("Wrote executor output file|Cache entry for key")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Sieve(io.StringIO):
    """Writes all lines to a file and passes on those that tell a person something."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        super().__init__()
        self._log, self._terminal, self._rest = log, terminal, ""

    def write(self, text: str) -> int:
        self._log.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if shown := _shown(_COLOUR.sub("", line)):
                self._terminal.write(shown + "\n")
                self._terminal.flush()
        return len(text)

    def flush(self) -> None:
        self._log.flush()


def _shown(line: str) -> str | None:
    if match := _CACHED.search(line):
        return f"{match[1]}: done before, reused"
    if match := _FAILED.search(line):
        return f"{match[1]}: failed"
    if _OURS.match(line) and not _INNER.search(line):
        return line.strip()
    return None


@contextlib.contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send all that is printed to ``log``; only the steps' own lines reach the terminal."""
    with log.open("a", encoding="utf-8") as file:
        sieve = _Sieve(file, sys.stdout)
        with _logging_to(sieve), contextlib.redirect_stdout(sieve):
            yield


@contextlib.contextmanager
def _logging_to(stream: TextIO) -> Iterator[None]:
    """KFP logs what it takes from its cache outside the context in which it logs to stdout.

    Only what writes to the terminal is turned round: a log file is somebody else's.
    """
    terminal = (sys.stdout, sys.stderr)
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    before = {handler: handler.stream for handler in handlers if handler.stream in terminal}
    try:
        for handler in before:
            handler.setStream(stream)
        yield
    finally:
        for handler, old in before.items():
            handler.setStream(old)
