"""Steps that fail in containers are reported as failed, always, and in one sentence."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
from kfp import dsl, local
from kfp.local.docker_task_handler import DockerTaskHandler
from kfp.local.status import Status
from mlflow import MlflowClient

from components import IMAGE
from pipelines import containers, runners
from pipelines.mounts import IMAGE_USER
from tests.containers.conftest import tiny_task

TIMES = 50


@dsl.container_component
def fails(status: int):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", 'exit "$0"'], args=[status])


@dsl.container_component
def tells_its_groups(file: str):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", 'id -G >"$0"'], args=[file])


@pytest.fixture
def runner(client, tmp_path, monkeypatch):
    monkeypatch.delenv("SUDO_UID", raising=False)
    runner = containers.docker_runner(IMAGE, tmp_path, [tmp_path], [], {})
    local.init(runner, pipeline_root=str(tmp_path / "root"), workspace_root=str(tmp_path / "work"))
    return runner


def test_a_failing_step_fails_its_component(runner):
    with pytest.raises(RuntimeError, match="FAILURE"):
        fails(status=3)


def test_where_root_calls_steps_are_the_images_user(runner, tmp_path):
    tells_its_groups(file=str(tmp_path / "groups"))
    assert (tmp_path / "groups").stat().st_uid == (os.getuid() or IMAGE_USER)
    assert "0" not in (tmp_path / "groups").read_text().split()


def test_a_failing_step_is_reported_as_failed_every_time(client, runner, tmp_path):
    """KFP's own way takes about one in ten for done, those that end at once above all."""

    def result(number):
        environment = {"NUMBER": str(number)}
        command = ["sh", "-c", f"echo {number}; exit {1 + number % 125}"]
        return DockerTaskHandler(IMAGE, command, str(tmp_path), quiet, environment).run()

    quiet = local.DockerRunner(labels=runner.container_run_args["labels"], user="10001:10001")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(result, range(TIMES)))
    assert results == [Status.FAILURE] * TIMES
    left = client.containers.list(all=True, filters={"label": f"{containers.RUN_LABEL}={tmp_path}"})
    assert left == []


def test_the_exit_status_is_the_steps_own(client):
    def status(command):
        return containers.run_container(client, IMAGE, ["sh", "-c", command], {})

    assert status("exit 0") == 0
    assert status("exit 42") == 42
    assert status("sh -c 'kill -9 $$'") == 137


def test_a_container_that_somebody_removes_has_failed(client):
    with mock.patch.object(containers, "_lines", lambda c: c.remove(force=True) or iter(())):
        assert containers.run_container(client, IMAGE, ["sleep", "60"], {}) == 137


def test_what_a_killed_run_left_is_removed_and_what_others_wait_for_is_not(client):
    def ended(process):
        labels = {containers._PROCESS_LABEL: str(process)}
        container = client.containers.run(IMAGE, ["true"], detach=True, labels=labels)
        container.wait()
        return container

    dead = subprocess.Popen(["true"])
    dead.wait()
    left, awaited = ended(dead.pid), ended(os.getpid())
    containers._remove_leftovers(client)
    known = {c.id for c in client.containers.list(all=True, ignore_removed=True)}
    awaited.remove()
    assert left.id not in known
    assert awaited.id in known


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # not the user's
    return tiny_task(tmp_path)


def test_bad_input_is_one_line_and_status_2(client, task):
    task.recipe["ingest"]["text"] = ["body"]
    task.write()
    done = task.llmclf("run", "recipe.yaml", "--runner", "docker")
    assert done.returncode == 2, done.stdout + done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ingest: ")
    assert "body" in message
    assert "Traceback" not in done.stdout + done.stderr
    store = MlflowClient(f"sqlite:///{task.root / 'runs' / 'mlflow.db'}")
    runs = store.search_runs([store.get_experiment_by_name("tiny").experiment_id])
    assert [r.info.status for r in runs] == ["FAILED"]


def test_no_daemon(task):
    task.write()
    nowhere = {"DOCKER_HOST": f"unix://{task.root / 'no.sock'}"}
    done = task.llmclf("run", "recipe.yaml", "--runner", "docker", **nowhere)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: docker cannot be reached (No such file or directory): start it, set DOCKER_HOST, "
        "or leave out --runner docker"
    )
    assert not (task.root / "runs").exists()


def test_no_image(client, task):
    task.write()
    with mock.patch.object(runners, "IMAGE", "llmclf:no-such"):
        done = task.llmclf("run", "recipe.yaml", "--runner", "docker")
    assert done.returncode == 2
    assert "there is no image llmclf:no-such: make it with `make image`" in done.stderr
    assert not (task.root / "runs").exists()


def test_a_store_that_containers_cannot_reach(client, task):
    task.recipe["tracking"] = {"uri": f"sqlite:///{task.root / 'elsewhere' / 'mlflow.db'}"}
    task.write()
    done = task.llmclf("run", "recipe.yaml", "--runner", "docker")
    assert done.returncode == 2
    assert "steps in containers cannot reach the MLflow store" in done.stderr


def test_interrupted(client, task):
    """``kill``, as Ctrl-C: the command ends, and its containers, which hear nothing themselves."""
    task.write()
    process = subprocess.Popen(
        task.command("run", "recipe.yaml", "--runner", "docker"),
        cwd=task.root, env=task.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, text=True,
    )  # fmt: skip

    def running():
        label = {"label": containers.RUN_LABEL}  # other tests' containers come and go meanwhile
        found = client.containers.list(all=True, filters=label, ignore_removed=True)
        return [c for c in found if c.labels[containers.RUN_LABEL].startswith(str(task.root))]

    deadline = time.monotonic() + 120
    while not running():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    assert process.returncode not in (0, None)
    assert running() == []
    store = MlflowClient(f"sqlite:///{task.root / 'runs' / 'mlflow.db'}")
    runs = store.search_runs([store.get_experiment_by_name("tiny").experiment_id])
    assert [r.info.status for r in runs] == ["KILLED"]
