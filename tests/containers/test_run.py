"""The whole pipeline in containers, by the command line, on a tiny real task.

Most people are not root: where root tests, the first run is somebody else's, and the second one is
root's for the same person, as by sudo.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient

from llmclf_core.approaches import load_classifier
from pipelines import containers
from tests.containers.conftest import tiny_task
from tests.pipelines.conftest import Done, Task

ROOT = Path(__file__).parents[2]
STEPS = {"ingest", "fit-tfidf", "tokenize", "finetune-head", "evaluate", "compare", "register"}
OWNER = os.getuid() or 1000
GROUP = 2000
"""A group through which alone somebody, who is neither root nor the image's user, has the data."""


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


def run(task: Task, *prefix: str, **environment: str) -> Ran:
    task.write()
    seen = task.root / "seen.json"
    seen.touch()
    seen.chmod(0o666)
    # Not the user's hub, which root would hand over.
    own = {"HF_HOME": str(task.root / "hub"), "HOME": str(task.root), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.containers.driver", str(seen), "run", "recipe.yaml"]
    done = subprocess.run(
        [*prefix, *command, "--runner", "docker"],
        cwd=task.root, env=task.environment() | own | environment, capture_output=True, text=True,
    )  # fmt: skip
    return Ran(task, Done(done.returncode, done.stdout, done.stderr), json.loads(seen.read_text()))


def as_somebody(task: Task) -> list[str]:
    """Give the task away, and the command's beginning that makes it that person's."""
    if os.getuid():
        return []
    for path in [task.root, *task.root.rglob("*")]:
        os.lchown(path, OWNER, OWNER)
    os.chown(task.root / "data.csv", 0, GROUP)
    (task.root / "data.csv").chmod(0o640)
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    groups = f"{os.stat(socket).st_gid},{GROUP}"
    # The interpreter, the socket and the task may lie where only root may look.
    look = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", f"--groups={groups}", *look]


@pytest.fixture(scope="module")
def ran(client, tmp_path_factory):
    task = tiny_task(tmp_path_factory.mktemp("run"))
    task.recipe["approaches"] = ["tfidf", "head"]
    task.recipe["base"]["quantization"] = "nf4"
    ran = run(task, *as_somebody(task), USER="somebody")
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
        assert "0" not in host["GroupAdd"]


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
    assert not (ran.task.root / "runs" / ran.summary["run"] / "tmp").exists()


def test_a_second_run_reuses_what_is_done(ran):
    (ran.task.root / "data.csv").chmod(0o644)  # groups are not known behind sudo
    again = run(ran.task, SUDO_UID=str(OWNER), SUDO_GID=str(OWNER))
    assert again.done.returncode == 0, again.done.stdout + again.done.stderr
    assert {step_of(c) for c in again.containers} == {"compare", "register"}
    assert {c["Config"]["User"].split(":")[0] for c in again.containers} == {str(OWNER)}
    assert "finetune-head: done before, reused" in again.done.stdout
    assert again.summary["metrics"] == ran.summary["metrics"]
