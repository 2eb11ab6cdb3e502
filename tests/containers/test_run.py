"""The whole pipeline in containers, by the command line, on a tiny real task."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from mlflow import MlflowClient

from llmclf_core.approaches import load_classifier
from pipelines import containers
from pipelines.mounts import IMAGE_USER
from tests.containers.conftest import tiny_task
from tests.pipelines.conftest import Done, Task

STEPS = {"ingest", "fit-tfidf", "tokenize", "finetune-head", "evaluate", "compare", "register"}
OWNER = os.getuid() or IMAGE_USER


class Ran(NamedTuple):
    """What a run left, and its containers as they were when they had ended."""

    task: Task
    done: Done
    containers: list[dict[str, Any]]

    @property
    def summary(self) -> dict[str, Any]:
        runs = self.task.root / "runs"
        latest = json.loads((runs / "latest.json").read_text())["run"]
        return json.loads((runs / latest / "summary.json").read_text())

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.task.root / 'runs' / 'mlflow.db'}")


def run(task: Task) -> Ran:
    seen: list[dict[str, Any]] = []
    remove = containers._remove

    def look_and_remove(container):
        container.reload()
        seen.append(container.attrs)
        remove(container)

    task.write()
    hub = {"HF_HOME": str(task.root / "hub")}  # not the user's, which root would hand over
    with mock.patch.object(containers, "_remove", look_and_remove):
        return Ran(task, task.llmclf("run", "recipe.yaml", "--runner", "docker", **hub), seen)


@pytest.fixture(scope="module")
def ran(client, tmp_path_factory):
    task = tiny_task(tmp_path_factory.mktemp("run"))
    task.recipe["approaches"] = ["tfidf", "head"]
    task.recipe["base"]["quantization"] = "nf4"
    ran = run(task)
    assert ran.done.returncode == 0, ran.done.stdout + ran.done.stderr
    return ran


def step_of(container):
    """KFP hands the function's name over at the end of the command."""
    return container["Args"][-1].replace("_", "-")


def test_every_step_ran_in_a_container_and_ended_well(ran):
    assert {step_of(c) for c in ran.containers} == STEPS
    assert len(ran.containers) == len(STEPS) + 1  # two evaluations
    assert {c["State"]["ExitCode"] for c in ran.containers} == {0}


def test_containers_may_do_as_little_as_possible(ran):
    for container in ran.containers:
        host = container["HostConfig"]
        assert container["Config"]["User"].split(":")[0] == str(OWNER) != "0"
        assert host["ReadonlyRootfs"]
        assert not host["Privileged"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        written = {m["Target"] for m in host["Mounts"] if not m.get("ReadOnly")}
        root = ran.task.root
        assert {str(root / "runs"), str(root / "cache")} < written
        assert str(root / "base") not in written


def test_what_steps_wrote_is_not_roots(ran):
    written = [p for p in Path(ran.summary["artifacts"]["champion"]).rglob("*") if p.is_file()]
    assert written
    assert {p.stat().st_uid for p in written} == {OWNER}


def test_artifacts_are_used_outside(ran):
    assert [a["approach"] for a in ran.summary["approaches"]] == ["tfidf", "head"]
    assert ran.summary["missing"] == []
    assert Path(ran.summary["report"]).stat().st_size > 10_000
    champion = load_classifier(Path(ran.summary["artifacts"]["champion"]))
    probabilities = champion.predict_proba(["the goal of the match", "the bank and the market"])
    assert probabilities.shape == (2, 3)
    predicted = ran.task.llmclf("predict", "the goal of the match")
    assert predicted.returncode == 0, predicted.stderr


def test_mlflow_has_the_runs(ran, client):
    runs = ran.mlflow.search_runs([ran.mlflow.get_experiment_by_name("tiny").experiment_id])
    nested = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert {r.data.tags["llmclf.approach"] for r in nested} == {"tfidf", "head"}
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert len(runs) == 3
    assert all("test_macro_f1" in r.data.metrics for r in runs)
    version = ran.mlflow.get_model_version("tiny", "1")
    revision = client.images.get(ran.containers[0]["Image"]).labels[
        "org.opencontainers.image.revision"
    ]
    assert version.tags["llmclf.git_commit"] == revision


def test_progress_is_shown_and_nothing_is_left_running(ran, client):
    for step in ("ingest", "finetune-head, seed 0", "compare", "register"):
        assert f"{step}: begins" in ran.done.stdout
        assert f"{step}: done" in ran.done.stdout
    assert "Found image" not in ran.done.stdout
    label = f"{containers.RUN_LABEL}={ran.task.root / 'runs' / ran.summary['run']}"
    assert client.containers.list(all=True, filters={"label": label}) == []


def test_a_second_run_reuses_what_is_done(ran):
    again = run(ran.task)
    assert again.done.returncode == 0, again.done.stdout + again.done.stderr
    assert {step_of(c) for c in again.containers} == {"compare", "register"}
    assert "finetune-head: done before, reused" in again.done.stdout
    assert again.summary["metrics"] == ran.summary["metrics"]
