"""Failures that other runs left: those of dead runs go, those of live ones stay."""

import json
import signal
import subprocess
import sys

import pytest

from llmclf_core.failures import FAILURE, Failure, failure_in
from pipelines import local

FAILED = Failure("head", 0, "finetune-head", "no memory")

RUNS = """
import sys, time
from pathlib import Path
from pipelines import local

with local._running(Path(sys.argv[1])):
    print("runs", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "run" / "artifacts" / "pipeline" / "finetune-head" / "classifier"
    path.parent.mkdir(parents=True)
    FAILED.save(path)
    return path


def test_a_run_that_ended_leaves_none(tmp_path, artifact):
    local._forget_failures_of_the_dead(tmp_path / "run")
    assert not artifact.exists()


def test_a_run_that_lives_keeps_its_own_until_it_is_killed(tmp_path, artifact):
    with subprocess.Popen(
        [sys.executable, "-c", RUNS, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "runs\n"
        local._forget_failures_of_the_dead(tmp_path / "run")
        assert failure_in(artifact) == FAILED
        process.send_signal(signal.SIGKILL)
        process.wait()
    local._forget_failures_of_the_dead(tmp_path / "run")
    assert not artifact.exists()


def test_a_failure_takes_the_place_of_what_was_half_written(artifact):
    (artifact / "half").write_text("x")
    FAILED.save(artifact)
    assert [f.name for f in artifact.iterdir()] == [FAILURE]
    assert json.loads((artifact / FAILURE).read_text())["reason"] == "no memory"
