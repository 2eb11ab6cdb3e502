"""kill -9 at random moments of the whole pipeline: it resumes, and ends with the same figures."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest
from mlflow import MlflowClient

from tests.forks import start_command
from tests.pipelines.conftest import write_task

KILLS = 10


def start(task):
    """The command in a process group of its own.

    As forks, it and its steps begin at once: a random moment is rarely one in which they import.
    """
    return start_command(task.root, task.environment(), "run", "recipe.yaml")


def end(process):
    """Its exit status."""
    process.join()
    return process.exitcode


def kill(process):
    """The command with its steps, if they still run."""
    with contextlib.suppress(ProcessLookupError):  # it had ended, and so had its steps
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # it may have had no group yet
    process.join()


def printed(task):
    return (task.root / "printed.txt").read_text()


def summary(task):
    latest = json.loads((task.root / "runs" / "latest.json").read_text())["run"]
    return json.loads((task.root / "runs" / latest / "summary.json").read_text())


@pytest.mark.timeout(1800)
def test_killed_at_ten_random_moments(tmp_path):
    whole, broken = write_task(tmp_path / "whole"), write_task(tmp_path / "broken")
    # The base's place is part of the settings, so both use one.
    broken.recipe["base"] = whole.recipe["base"]
    for task in (whole, broken):
        task.write()
    end(start_command(whole.root, whole.environment(), "--version"))  # the forks' origin is up now
    begun = time.monotonic()
    assert end(start(whole)) == 0
    duration = time.monotonic() - begun

    seed = random.SystemRandom().randrange(2**32)
    moments = random.Random(seed)
    print(f"seed {seed}, unbroken run {duration:.0f} s")
    for _ in range(KILLS):
        process = start(broken)
        # Kills reach the later steps because finished ones are reused. A run that gets to its end
        # before its moment is done, and the next one begins with everything reused.
        process.join(moments.uniform(0.5, 0.6 * duration))
        assert process.exitcode in (None, 0), printed(broken)
        kill(process)
    assert end(start(broken)) == 0, printed(broken)

    expected, got = summary(whole), summary(broken)
    assert got["classifier"] == expected["classifier"], f"seed {seed}"
    assert got["metrics"] == expected["metrics"]
    assert got["registration"]["version"] == "1"
    assert_tracked_once(broken)


def start_fresh(task):
    """The command as a user starts it."""
    return subprocess.Popen(
        task.command("run", "recipe.yaml"),
        cwd=task.root,
        env=task.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.timeout(1200)
def test_only_the_command_is_killed_and_its_step_goes_on(tmp_path):
    """The step is an orphan then; the next run waits for it and uses what it has trained."""
    task = write_task(tmp_path)
    task.write()
    process = start_fresh(task)
    training = task.root / "cache" / "training"
    while not list(training.glob("*/tracking.jsonl")):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert start_fresh(task).wait() == 0
    assert len(list(training.glob("*/"))) == 1
    assert_tracked_once(task)


def assert_tracked_once(task):
    """One nested run, and every step's loss exactly once."""
    client = MlflowClient(f"sqlite:///{task.root / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    nested = [r for r in runs if "test_macro_f1" in r.data.metrics and "lora.rank" in r.data.params]
    assert len(nested) == 1
    losses = client.get_metric_history(nested[0].info.run_id, "train_loss")
    steps = [point.step for point in losses]
    assert steps == list(range(1, len(steps) + 1))
    assert nested[0].info.status == "FINISHED"
    parent = client.get_run(nested[0].data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FINISHED"
