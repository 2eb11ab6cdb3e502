"""The shared MLflow is killed in the middle of a training and comes back a while later."""

import math
import time
from pathlib import Path

import pytest

from llmclf_core.registry.journal import read_journal
from tests.services.pipelines import finish, make_task, start, stop

pytestmark = pytest.mark.timeout(1200)
NAME = "outage"


def losses(journal):
    """Step and loss of every entry, as the training logged them."""
    return [
        (entry["step"], entry["values"]["train_loss"])
        for entry in read_journal(journal)
        if entry["op"] == "metrics" and "train_loss" in entry["values"]
    ]


def wait_until(holds, process, what, seconds=240):
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, f"the run ended before {what}"
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def broken(stack, worker, tmp_path_factory):
    """(task, summary, losses at the kill, losses before the server was back)."""
    task = make_task(
        tmp_path_factory.mktemp("outage") / "task", NAME, "head", epochs=30, patience=0
    )
    process = start(task, worker)
    training = task.root / "cache" / "training"

    def so_far():
        return [loss for file in training.glob("*/tracking.jsonl") for loss in losses(file)]

    def arrived():
        query = """SELECT count(*) FROM metrics JOIN runs USING (run_uuid)
                   JOIN experiments USING (experiment_id)
                   WHERE experiments.name = %s AND key = 'train_loss'"""
        return stack.sql(query, NAME)[0][0] > 0

    try:
        wait_until(lambda: len(so_far()) > 2 and arrived(), process, "loss in PostgreSQL")
        stack.kill("mlflow")
        at_kill = len(so_far())
        wait_until(lambda: len(so_far()) > at_kill + 20, process, "training without the server")
        before_restart = len(so_far())
        stack.start_mlflow()
        summary = finish(task, process)
    finally:
        if "mlflow" not in stack.running:
            stack.start_mlflow()
        stop(process)
    return task, summary, at_kill, before_restart


def history(stack, run):
    query = """SELECT step, value FROM metrics WHERE run_uuid = %s AND key = 'train_loss'
               ORDER BY step, timestamp"""
    return stack.sql(query, run)


def assert_same(rows, logged):
    assert [step for step, _ in rows] == [step for step, _ in logged]
    assert all(math.isclose(a, b) for (_, a), (_, b) in zip(rows, logged, strict=True))


def test_training_went_on_and_nothing_is_lost_or_doubled(stack, broken):
    _, summary, at_kill, before_restart = broken
    logged = losses(Path(summary["artifacts"]["champion"]) / "tracking.jsonl")
    assert 0 < at_kill < before_restart <= len(logged)
    assert len(logged) > at_kill + 20
    assert_same(history(stack, summary["registration"]["run_id"]), logged)
    twice = """SELECT run_uuid, key, step FROM metrics
               GROUP BY run_uuid, key, step HAVING count(*) > 1"""
    assert stack.sql(twice) == []


def test_runs_end_finished_and_the_model_is_registered(stack, broken):
    _, summary, _, _ = broken
    done = summary["registration"]
    query = "SELECT status FROM runs WHERE run_uuid IN (%s, %s)"
    rows = stack.sql(query, done["run_id"], done["parent_run_id"])
    assert rows == [("FINISHED",), ("FINISHED",)]
    query = "SELECT run_id FROM model_versions WHERE name = %s"
    assert stack.sql(query, NAME) == [(done["run_id"],)]


def test_replay_changes_nothing_when_all_has_arrived(stack, worker, broken):
    task, summary, _, _ = broken
    run = summary["registration"]["run_id"]
    tables = ("metrics", "params", "tags", "inputs")
    ids = {"inputs": "destination_id"}

    def rows():
        return {
            t: sorted(stack.sql(f"SELECT * FROM {t} WHERE {ids.get(t, 'run_uuid')} = %s", run))
            for t in tables
        }

    before = rows()
    for part in ("champion", "evaluation"):
        journal = Path(summary["artifacts"][part]) / "tracking.jsonl"
        done = task.llmclf("replay", str(journal), **worker)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "MLflow has everything now\n"
    assert rows() == before


def test_replay_brings_back_what_the_server_has_lost(stack, worker, broken):
    """As after a restore of an older backup: the journal still knows."""
    task, summary, _, _ = broken
    run = summary["registration"]["run_id"]
    whole = history(stack, run)
    stack.sql("DELETE FROM metrics WHERE run_uuid = %s AND key = 'train_loss' AND step > 5", run)
    assert len(history(stack, run)) == 5
    journal = Path(summary["artifacts"]["champion"]) / "tracking.jsonl"
    assert task.llmclf("replay", str(journal), **worker).returncode == 0
    assert history(stack, run) == whole
