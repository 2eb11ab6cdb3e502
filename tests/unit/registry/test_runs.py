"""One parent a pipeline execution, however many processes ask for it at once."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from llmclf_core.registry import client as client_module
from llmclf_core.registry.client import experiment_id, find_or_create_run, tagged_runs
from llmclf_core.registry.runs import close_parent, ensure_parent
from llmclf_core.registry.tracking import Tracker
from tests.mlflow_helpers import EXPERIMENT, all_runs, points, run_of

RACER = """
    import sys, time
    from pathlib import Path
    from llmclf_core.registry.tracking import Tracker

    start, name = float(sys.argv[1]), sys.argv[2]
    while time.time() < start:
        time.sleep(0.001)
    with Tracker.open(Path(name), run_key=name, name=name) as tracker:
        tracker.metrics({"loss": 1.0}, 0)
"""


def test_processes_that_race_share_one_parent(store, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "LLMCLF_PIPELINE_RUN": "exec's"}
    command = [sys.executable, "-c", textwrap.dedent(RACER), str(time.time() + 5)]
    racers = [
        subprocess.Popen([*command, f"j{i}"], cwd=tmp_path, env=environment) for i in range(3)
    ]
    assert [racer.wait() for racer in racers] == [0, 0, 0]
    parents = [r for r in all_runs(store) if r.data.tags.get("llmclf.pipeline_run") == "exec's"]
    assert len(parents) == 1
    children = [run_of(store, f"j{i}") for i in range(3)]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parents[0].info.run_id}


@pytest.mark.parametrize(
    ("mine", "slow", "keeps"), [(1, False, True), (3, False, False), (1, True, False)]
)
def test_rival_that_appears_while_creating(store, monkeypatch, mine, slow, keeps):
    """The rival starts at time 2; who is earlier stays, unless mine took too long to create."""
    monkeypatch.setattr(client_module, "_SETTLE_SECONDS", 0.2)
    experiment = experiment_id(store, EXPERIMENT)
    made = []

    def create():
        made.append(store.create_run(experiment, 2, {"key": "v"}).info.run_id)
        if slow:
            time.sleep(0.3)
        return store.create_run(experiment, mine, {"key": "v"})

    run, created = find_or_create_run(store, experiment, ("key", "v"), create, settle=True)
    assert created is keeps
    assert (run.info.run_id == made[0]) is not keeps
    assert tagged_runs(store, experiment, "key", "v")[0].info.run_id == run.info.run_id


def test_experiment_that_another_process_creates_first(store, monkeypatch):
    real, calls = MlflowClient.get_experiment_by_name, []

    def late(self, name):
        calls.append(name)
        if len(calls) == 1:
            MlflowClient(self.tracking_uri).create_experiment(name)
            return None
        return real(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    found = experiment_id(store, "raced")
    assert real(store, "raced").experiment_id == found


def test_bad_experiment_name_is_not_swallowed(store):
    with pytest.raises(MlflowException):
        experiment_id(store, "x" * 1000)


def test_deleted_experiment_says_what_to_do(store):
    store.delete_experiment(experiment_id(store, EXPERIMENT))
    with pytest.raises(MlflowException, match="was deleted: restore it"):
        experiment_id(store, EXPERIMENT)


def test_parent_is_closed_once_with_figures(store, monkeypatch):
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    experiment = experiment_id(store, EXPERIMENT)
    parent = ensure_parent(store, experiment, "exec-1", "demo")
    for _ in range(2):
        assert close_parent("FINISHED", {"macro_f1": 0.9})
    (run,) = all_runs(store)
    assert (run.info.run_id, run.info.run_name) == (parent, "demo")
    assert run.info.status == "FINISHED"
    assert points(store, parent, "macro_f1") == [(0, 0.9)]


def test_a_run_that_gives_way_is_not_believed_in(store, monkeypatch):
    monkeypatch.setattr(client_module, "_SETTLE_SECONDS", 0.5)
    experiment, key = experiment_id(store, EXPERIMENT), ("k", "v")
    loser = store.create_run(experiment, tags={"k": "v"})
    threading.Timer(0.2, lambda: store.delete_run(loser.info.run_id)).start()
    found, created = find_or_create_run(
        store, experiment, key, lambda: store.create_run(experiment, tags={"k": "v"}), settle=True
    )
    assert created
    assert found.info.run_id != loser.info.run_id
    again, created = find_or_create_run(
        store, experiment, key, lambda: pytest.fail("twice"), settle=True
    )
    assert (again.info.run_id, created) == (found.info.run_id, False)


@pytest.mark.parametrize(
    ("parent", "nested"), [("KILLED", "KILLED"), ("FAILED", "FAILED"), ("FINISHED", "RUNNING")]
)
def test_nested_runs_end_with_a_pipeline_that_did_not_finish(
    store, tmp_path, monkeypatch, parent, nested
):
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    with Tracker.open(tmp_path / "done", run_key="done", name="done"):
        pass
    killed = Tracker.open(tmp_path / "killed", run_key="killed", name="killed")
    killed.flush()  # and never closed: its process was killed
    assert close_parent(parent)
    assert run_of(store, "killed").info.status == nested
    assert run_of(store, "done").info.status == "FINISHED"
    killed.close("FINISHED")  # it lives after all: its own word counts
    assert run_of(store, "killed").info.status == "FINISHED"


def test_nothing_to_close_without_an_execution(store):
    assert not close_parent("FINISHED")


def test_executions_do_not_mix(store, tmp_path, monkeypatch):
    for execution in ("one", "two"):
        monkeypatch.setenv("LLMCLF_PIPELINE_RUN", execution)
        with Tracker.open(tmp_path / execution, run_key=execution, name="n"):
            pass
    for execution in ("one", "two"):
        parent = store.get_run(run_of(store, execution).data.tags["mlflow.parentRunId"])
        assert parent.data.tags["llmclf.pipeline_run"] == execution


@pytest.mark.parametrize(
    ("former", "belongs_to", "ends"),
    [("RUNNING", "second", "KILLED"), ("FAILED", "second", "FAILED"), ("FINISHED", "first", None)],
)
def test_run_of_a_killed_execution_moves_to_the_next(
    store, tmp_path, monkeypatch, former, belongs_to, ends
):
    journal = tmp_path / "journal.jsonl"
    client = store
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "first")
    with Tracker.open(journal, run_key="training", name="training") as tracker:
        tracker.metrics({"loss": 1.0}, 0)
    first = run_of(store, "training").data.tags["mlflow.parentRunId"]
    if former != "RUNNING":
        client.set_terminated(first, former)
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "second")
    with Tracker.open(journal, run_key="training", name="training") as tracker:
        tracker.metrics({"loss": 0.5}, 1)
    run = run_of(store, "training")
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["llmclf.pipeline_run"] == belongs_to
    assert run.data.tags["llmclf.execution"] == belongs_to
    assert client.get_run(first).info.status == (ends or "FINISHED")
