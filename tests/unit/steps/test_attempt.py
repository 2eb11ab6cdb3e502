"""One approach's failure is written down and handed on; nothing of it is lost or done twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llmclf_core.errors import UserError
from llmclf_core.failures import Failure, failure_in
from llmclf_core.steps.attempt import attempt


def run(tmp_path, work, inputs=(), name="out"):
    return attempt("finetune-head", "head", 3, list(inputs), tmp_path / name, work)


def test_success_leaves_what_the_work_wrote(tmp_path):
    def work():
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "weights").write_text("w")

    assert run(tmp_path, work) is None
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["weights"]
    assert failure_in(tmp_path / "out") is None


def fail_as_user():
    raise UserError("tokenize.max_length is 9; use 8")


def fail_unexpectedly():
    raise ZeroDivisionError("by zero")


def fail_with_a_long_reason():
    raise UserError("é" * 100_000)


def end_at_once():
    os._exit(7)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def be_ended():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (fail_as_user, "tokenize.max_length is 9; use 8"),
        (fail_unexpectedly, "ZeroDivisionError: by zero"),
        (fail_with_a_long_reason, "éééé"),
        (end_at_once, "ended with status 7"),
        (be_killed, "memory ran out"),
        (be_ended, "ended by SIGTERM"),
    ],
)
def test_failure_is_written_down(tmp_path, work, reason):
    failure = run(tmp_path, work)
    assert failure == failure_in(tmp_path / "out")
    assert (failure.approach, failure.seed, failure.step) == ("head", 3, "finetune-head")
    assert reason in failure.reason


def test_half_written_output_is_replaced(tmp_path):
    def work():
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "half").write_text("w")
        raise UserError("no")

    run(tmp_path, work)
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["failure.json"]


def test_failure_is_handed_on_with_the_step_that_failed(tmp_path):
    attempt("tokenize", "head", None, [], tmp_path / "tokens", fail_as_user)

    def work():
        raise AssertionError("must not be called")

    failure = run(tmp_path, work, [tmp_path / "tokens"])
    assert failure == Failure("head", 3, "tokenize", "tokenize.max_length is 9; use 8")
    assert str(failure) == "head (seed 3), tokenize: tokenize.max_length is 9; use 8"


def test_ctrl_c_is_no_failure_of_the_approach(tmp_path, ctrl_c):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, ctrl_c)
    assert not (tmp_path / "out").exists()


SLOW = """
import os, sys, time
from pathlib import Path
from llmclf_core.steps.attempt import attempt

def work():
    print(os.getpid(), flush=True)
    time.sleep(120)

attempt("s", "head", 0, [], Path(sys.argv[1]), work)
"""


def test_killed_step_takes_its_work_along(tmp_path):
    """Else a training that nobody waits for would go on, and keep its lock."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as step:
        worker = psutil.Process(int(step.stdout.readline()))
        step.kill()
        worker.wait(timeout=20)
    assert not worker.is_running()
    assert not Path(tmp_path / "out").exists()
