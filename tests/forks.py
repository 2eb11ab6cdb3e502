"""Steps of a pipeline, and the command, as forks of one process that has imported what they need.

Most seconds of a small step are imports. A fork is a process all the same: KFP's executor with the
arguments, environment and directory that the local runner gives it, in the process group of
whoever started it, with its own output and exit status. That a step finds all it needs in a fresh
process is shown in `tests/components`, and wherever the command is a process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from multiprocessing import Process, forkserver, get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from kfp.dsl.executor_main import executor_main
from kfp.local import subprocess_task_handler

from pipelines import stopping
from pipelines.cli import main

ROOT = Path(__file__).parent.parent
_IMPORTS = "tests.fork_imports"
_AT_IMPORT = {"_KFP_RUNTIME": "false", "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
"""Variables that libraries read when they are imported: as a step has them, but all of kfp."""

_context = get_context("forkserver")
_in_fresh_process = subprocess_task_handler.run_local_subprocess


@contextlib.contextmanager
def forked_steps(fresh: Collection[str] = ()) -> Iterator[None]:
    """In this block the local runner's steps are forks, but for those of ``fresh`` components."""

    def run(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        start = _in_fresh_process if full_command[-1] in fresh else run_step
        return start(full_command, env_vars)

    with (
        mock.patch.object(subprocess_task_handler, "run_local_subprocess", run),
        mock.patch.object(stopping, "_start", run),
    ):
        yield


def run_step(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
    """Stands in for KFP's `run_local_subprocess`: prints what the step prints.

    Returns:
        The step's exit status.
    """
    _, _, _, source, *arguments = full_command  # sh -ec <the call of executor_main>
    reader, writer = _context.Pipe(duplex=False)
    step = _fork(_step, os.environ | (env_vars or {}), writer, source, arguments)
    writer.close()
    with os.fdopen(os.dup(reader.fileno()), errors="replace") as printed:
        for line in printed:
            print(line, end="")
    reader.close()
    step.join()
    return int(step.exitcode or 0)


def start_command(directory: Path, environment: Mapping[str, str], *arguments: str) -> Process:
    """`llmclf` with these arguments, its steps forks too, all in one process group of its own.

    What it prints is added to `printed.txt` there. The group has the process's number once it has
    begun.
    """
    with contextlib.chdir(directory), open("printed.txt", "ab") as printed:
        out = Connection(os.dup(printed.fileno()), readable=False)
        return _fork(_command, environment, out, list(arguments))


def _fork(work: Callable[..., Any], environment: Mapping[str, str], *arguments: Any) -> Process:
    _context.set_forkserver_preload([_IMPORTS])
    with contextlib.chdir(ROOT), mock.patch.dict(os.environ, _AT_IMPORT):
        forkserver.ensure_running()
    process = _context.Process(target=work, args=(dict(environment), *arguments))
    process.start()
    return process


def _begin(environment: dict[str, str], out: Connection) -> None:
    assert _IMPORTS in sys.modules, "the server could not import what steps need"
    os.environ.clear()
    os.environ.update(environment)
    for number in (1, 2):
        os.dup2(out.fileno(), number)
    out.close()
    sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, closefd=False) for n in (1, 2))


def _step(environment: dict[str, str], out: Connection, source: str, arguments: list[str]) -> None:
    _join_group()
    _begin(environment | {"_KFP_RUNTIME": "true"}, out)
    with tempfile.TemporaryDirectory() as directory:
        module = Path(directory) / "ephemeral_component.py"
        module.write_text(source)
        sys.argv = ["executor_main", "--component_module_path", str(module), *arguments]
        try:
            executor_main()
        finally:
            atexit._run_exitfuncs()  # multiprocessing leaves them out


def _join_group() -> None:
    """As a child of whoever started this, or not at all if that was killed in the meantime."""
    starter = parent_process()
    os.setpgid(0, os.getpgid(starter.pid))
    if not starter.is_alive():
        os._exit(1)


def _command(environment: dict[str, str], out: Connection, arguments: list[str]) -> None:
    os.setpgid(0, 0)
    _begin(environment, out)
    sys.argv = ["llmclf", *arguments]
    with forked_steps():
        main()
