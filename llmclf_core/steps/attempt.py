"""A step of one approach: what goes wrong in it is written down, and the others go on.

A pipeline step that fails takes down everything that waits for it, the comparison of the approaches
that did well among it. So the steps of an approach end well in any case; the artifact of a failed
one holds ``failure.json`` instead, which later steps hand on and the comparison reports.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from llmclf_core.errors import UserError
from llmclf_core.failures import Failure, failure_in
from llmclf_core.steps.tries import Tries

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def attempt(
    step: str,
    approach: str,
    seed: int | None,
    inputs: Sequence[Path],
    output: Path,
    work: Callable[[], object],
) -> Failure | None:
    """Do the work of one step of one approach, or write down why it cannot be done.

    Where the system can fork, the work is done in a child process, so that not even the kernel,
    when memory runs out, ends the step. Where it ends all of the pod, the last try writes that
    down (:mod:`llmclf_core.steps.tries`). Import what is heavy inside ``work``.

    Args:
        step: its name.
        approach: whose step it is.
        seed: of the training; None where there is none.
        inputs: artifacts that it needs; a failure among them is handed on.
        output: the artifact's directory, which ``work`` writes.
        work: the step itself.

    Returns:
        The failure, which also lies in ``output``; None when all went well.
    """
    before = next(filter(None, map(failure_in, inputs)), None)
    if before:
        return _saved(Failure(approach, seed, before.step, before.reason), output)
    tries, failure = Tries(step, approach, seed), None
    reason = tries.begin()
    if reason is None:
        reason = _reason_in_child(work) if sys.platform == "linux" else _reason(work)
    if reason is not None:
        log.error("%s: failed: %s", step, reason)
        failure = _saved(Failure(approach, seed, step, reason), output)
    tries.end()
    return failure


def _saved(failure: Failure, output: Path) -> Failure:
    failure.save(output)
    return failure


def _reason(work: Callable[[], object]) -> str | None:
    try:
        work()
    except UserError as error:
        return str(error)
    except Exception as error:
        log.exception("unexpected")
        return f"{type(error).__name__}: {error}"
    return None


def _reason_in_child(work: Callable[[], object]) -> str | None:
    read, write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(read)
        _end_with(parent)
        _work_and_exit(work, write)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return "the process was killed; most likely memory ran out"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return None if code == 0 else told or f"the process ended with status {code}"


def _work_and_exit(work: Callable[[], object], write: int) -> None:
    """In the child: never returns, so that nothing of the parent's is done twice."""
    code = 1
    try:
        reason = _reason(work)
        code = 0 if reason is None else 1
        os.write(write, (reason or "").encode("utf-8", "replace")[:60_000])
    except KeyboardInterrupt:
        code = 130
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # one may be closed
                    stream.flush()
        finally:
            os._exit(code)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when the step's own ends, however that comes about."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that took effect
        os._exit(1)
