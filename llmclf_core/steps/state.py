"""Where a training keeps its state while it runs, and for a while after."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from llmclf_core.errors import explain_os_errors
from llmclf_core.files import recover
from llmclf_core.paths import cache_dir
from llmclf_core.processes import is_main_process

log = logging.getLogger(__name__)

_KEPT_SECONDS = 7 * 24 * 3600


def state_of(key: str) -> Path:
    """The state directory of the trainings with this key; equal trainings share it."""
    return cache_dir() / "training" / key


@contextmanager
def exclusive(state: Path, directory: str) -> Iterator[None]:
    """Two runs of the same training take turns; processes of one training share it.

    Args:
        state: the state directory.
        directory: what lies in it and is replaced as a whole; a replacement that was killed
            half-way is undone.

    Raises:
        UserError: when the cache cannot be written.
    """
    with explain_os_errors(state):
        state.mkdir(parents=True, exist_ok=True)
    if not is_main_process():
        yield
        return
    lock = FileLock(state.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.info("another process is at this very training: waiting for it, to use its result")
        lock.acquire()
    recover(state / directory)
    try:
        yield
    finally:
        lock.release()


def tidy(state: Path) -> None:
    """Drop what a finished training no longer needs, and finished ones of long ago.

    Its last state stays for a while: whoever asks for this very training again (a step that was
    killed before its runner took note, a copy of the same data) gets it at once.

    What cannot be dropped stays: it is another user's, or another run is dropping it right now.
    """
    for file in state.glob("embeddings-*.npy"):
        with suppress(OSError):
            file.unlink()
    with suppress(OSError):
        for other in list(state.parent.iterdir()):
            if other != state:
                drop_old(other, _KEPT_SECONDS)


def drop_old(entry: Path, seconds: float) -> None:
    """Delete a file or directory that has not been changed for so long, if we may."""
    with suppress(OSError):
        if time.time() - entry.stat().st_mtime <= seconds:
            return
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
