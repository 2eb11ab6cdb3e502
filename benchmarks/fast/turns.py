"""Both sides of a comparison in processes of their own, which work by turns.

A side is a function of :class:`~benchmarks.fast.work.Work` and :class:`Clock`. It trains or
predicts by its own public entry and tells the clock after every step; between its turns the clock
keeps it waiting. So both are warm, neither disturbs the other's libraries, and a slow minute of the
machine falls on both.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]


class StoppedError(BaseException):
    """No turn will come any more; like KeyboardInterrupt it passes through libraries' handlers."""


@dataclass(frozen=True)
class Turn:
    """What a side did in its turn.

    Attributes:
        amount: work done, in the case's unit.
        seconds: wall time.
    """

    amount: float
    seconds: float


class Link(Protocol):
    """What a clock needs of a connection to who gives the turns."""

    def send(self, message: Any) -> None: ...

    def recv(self) -> Any: ...


class Clock:
    """A side's own clock."""

    def __init__(self, link: Link, now: Callable[[], float] = time.perf_counter) -> None:
        self._link, self._now = link, now
        self._left, self._amount, self._begun = 0, 0.0, 0.0

    def wait(self) -> None:
        """Wait for a turn, which begins at once.

        Raises:
            StoppedError: when there is none any more.
        """
        steps = self._link.recv()
        if steps is None:
            raise StoppedError
        self._left, self._amount, self._begun = steps, 0.0, self._now()

    def after(self, amount: float) -> None:
        """Note a step and the work it was; at the end of a turn, wait for the next."""
        self._amount += amount
        self._left -= 1
        if self._left == 0:
            self._link.send(Turn(self._amount, self._now() - self._begun))
            self.wait()


class WorkerError(Exception):
    """A side broke; says how."""


class Worker:
    """A side in a fresh process. A context manager: on leaving, the process ends."""

    def __init__(self, side: str, work: Any) -> None:
        """Args:
        side: ``module:function``.
        work: its first argument.
        """
        self._side = side
        self._link, there = Pipe()
        command = [sys.executable, "-m", "benchmarks.fast.turns", str(there.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[there.fileno()])
        there.close()
        self._link.send((side, work))

    def turn(self, steps: int) -> Turn:
        """Let it do some steps; the first turn loads the model, too.

        Raises:
            WorkerError: when it breaks, or ends before.
        """
        self._link.send(steps)
        found = self._answer()
        if not isinstance(found, Turn):
            raise WorkerError(f"{self._side} ended before its turn did")
        return found

    def finish(self) -> dict[str, Any]:
        """Its last turn is over, or it needs none: what it returns."""
        self._link.send(None)
        return dict(self._answer())

    def _answer(self) -> Any:
        try:
            found = self._link.recv()
        except EOFError:
            code = self._process.wait()
            raise WorkerError(f"{self._side}: its process ended with code {code}") from None
        if isinstance(found, str):
            raise WorkerError(f"{self._side}:\n{found}")
        return found

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._link.close()
        if kind is not None:
            self._process.kill()
        self._process.wait()


def function_of(side: str) -> Callable[[Any, Clock], dict[str, Any]]:
    """The function that ``module:function`` names."""
    module, _, name = side.partition(":")
    function: Callable[[Any, Clock], dict[str, Any]] = getattr(
        importlib.import_module(module), name
    )
    return function


def _work(link: Connection) -> None:
    side, work = link.recv()
    try:
        found = function_of(side)(work, Clock(link))
    except StoppedError:
        found = {}
    except Exception:
        found = traceback.format_exc()
    link.send(found)


if __name__ == "__main__":
    # Once more under its own name: what is pickled here has to be what the other process knows.
    from benchmarks.fast import turns

    turns._work(Connection(int(sys.argv[1])))
