"""End the steps with the run: on Ctrl-C, ``kill``, or when the terminal is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil
from kfp.local import subprocess_task_handler

KILLED = 137
"""Exit status of a step that was not let begin, or was removed."""

stopped = threading.Event()
"""The run is being ended: KFP's threads would go on with their next step."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_start = subprocess_task_handler.run_local_subprocess


@contextmanager
def ended_by_signals(end: Callable[[int], object]) -> Iterator[None]:
    """On a signal that asks to end, call ``end`` with its number and raise ``KeyboardInterrupt``.

    A signal that is ignored (by nohup, say) stays so. Signals belong to the main thread: on another
    one this does nothing.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        stopped.set()
        end(number)
        raise KeyboardInterrupt

    stopped.clear()
    main = threading.current_thread() is threading.main_thread()
    heard = [n for n in _SIGNALS if main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def processes_end_too() -> Iterator[None]:
    """End the processes of steps with the run; the terminal tells them of Ctrl-C by itself."""
    others = set(psutil.Process().children(recursive=True))

    def end(number: int) -> None:
        if number != signal.SIGINT:
            for child in psutil.Process().children(recursive=True):
                if child not in others:
                    with suppress(psutil.NoSuchProcess):
                        child.terminate()

    subprocess_task_handler.run_local_subprocess = _run_process
    with ended_by_signals(end):
        yield


def _run_process(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
    return KILLED if stopped.is_set() else int(_start(full_command, env_vars))
