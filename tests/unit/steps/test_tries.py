"""A step that is ended from outside at every try is its approach's failure, not the pipeline's."""

import os
import signal
import subprocess
import sys

import pytest

from llmclf_core.errors import UserError
from llmclf_core.failures import failure_in
from llmclf_core.steps.attempt import attempt
from llmclf_core.steps.tries import Tries


@pytest.fixture(autouse=True)
def execution(monkeypatch):
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "run-1")
    monkeypatch.setenv("LLMCLF_TRIES", "3")


KILLED = """
import os, signal, sys, time
from pathlib import Path
from llmclf_core.steps.attempt import attempt

def work():
    print("works", flush=True)
    os.kill(os.getppid(), signal.SIGKILL)  # the kernel then ends this process, too
    time.sleep(20)

attempt("finetune-head", "head", 3, [], Path(sys.argv[1]), work)
"""


def test_the_last_try_writes_down_that_the_others_were_ended(tmp_path, own_cache):
    output = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(output)]
    for _ in range(2):
        killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "works\n")
        assert not output.exists()
    last = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert (last.returncode, last.stdout) == (0, "")
    failure = failure_in(output)
    assert (failure.approach, failure.seed, failure.step) == ("head", 3, "finetune-head")
    assert "ended from outside 2 times; most likely memory or the time limit" in failure.reason
    assert not list((own_cache / "attempts").iterdir())


def fail():
    raise UserError("no")


@pytest.mark.parametrize("work", [lambda: None, fail])
def test_a_try_that_comes_to_an_end_is_forgotten(tmp_path, work, own_cache):
    reasons = [attempt("s", "head", 0, [], tmp_path / "out", work) for _ in range(5)]
    assert {failure and failure.reason for failure in reasons} == {None if work != fail else "no"}
    assert not list((own_cache / "attempts").iterdir())


def test_a_try_that_raises_counts(tmp_path, ctrl_c):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            attempt("s", "head", 0, [], tmp_path / "out", ctrl_c)
    failure = attempt("s", "head", 0, [], tmp_path / "out", ctrl_c)
    assert "ended from outside 2 times" in failure.reason


def test_each_step_seed_approach_and_execution_has_its_own_tries(monkeypatch):
    one = Tries("finetune-head", "head", 0)
    assert (one.begin(), one.begin()) == (None, None)
    for other in (("finetune-head", "head", 1), ("evaluate", "head", 0), ("evaluate", "probe", 0)):
        assert Tries(*other).begin() is None
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "run-2")
    assert Tries("finetune-head", "head", 0).begin() is None
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "run-1")
    assert Tries("finetune-head", "head", 0).begin() is not None


@pytest.mark.parametrize("unset", ["LLMCLF_PIPELINE_RUN", "LLMCLF_TRIES"])
def test_nothing_is_counted_where_nothing_is_tried_again(monkeypatch, own_cache, unset):
    monkeypatch.delenv(unset)
    assert [Tries("s").begin() for _ in range(5)] == [None] * 5
    assert not (own_cache / "attempts").exists()


def test_a_cache_that_cannot_be_written_does_not_end_the_step(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path / "file"))
    assert attempt("s", "head", 0, [], tmp_path / "out", lambda: None) is None
    assert "tries cannot be counted" in caplog.text


def test_tries_of_long_ago_are_dropped(own_cache):
    Tries("old").begin()
    (old,) = (own_cache / "attempts").iterdir()
    os.utime(old, (1, 1))
    Tries("new").begin()
    assert old not in set((own_cache / "attempts").iterdir())
