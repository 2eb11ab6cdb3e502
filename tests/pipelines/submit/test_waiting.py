"""`llmclf submit --wait`: what it tells, and how it ends. Against a stand-in of Kubeflow's API."""

import re

import pytest

from pipelines.kubeflow import watch
from tests.pipelines.submit.helpers import described, look, only, submit, submitted


def test_waiting_shows_how_steps_fare_and_ends_well(task, kubeflow):
    kubeflow.stories = [
        look("PENDING"),
        look("RUNNING", described("root-driver", "SUCCEEDED"), described("ingest", "RUNNING")),
        look("RUNNING", described("ingest", "SUCCEEDED"), described("executor", "SUCCEEDED")),
        look("RUNNING", described("ingest", "SUCCEEDED"), described("fit-tfidf", "RUNNING")),
        look("SUCCEEDED", described("ingest", "SUCCEEDED"), described("fit-tfidf", "SUCCEEDED")),
    ]
    done = submitted(task, kubeflow, "--wait")
    assert "the run succeeded" in done.stdout
    lines = [re.sub(r"^\S+ ", "", line) for line in done.stderr.splitlines()]
    told = [line for line in lines if re.search(": (running|succeeded)$", line)]
    assert told == [
        "Ingest: running", "run: running", "Ingest: succeeded", "Fit TF-IDF: running",
        "Fit TF-IDF: succeeded", "run: succeeded",
    ]  # fmt: skip


def test_a_run_that_fails_is_exit_status_1_and_names_the_steps(task, kubeflow):
    tasks = [
        described("root", "FAILED"),
        described("exit-handler-1", "FAILED"),
        described("for-loop-2", "FAILED", "loop", child_tasks=[{"task_id": "2"}]),
        described("finetune-head", "FAILED", "2", parent_task_id="loop"),
        described("executor(1)", "FAILED", "3", parent_task_id="2"),
        described("fit-probe-driver(1)", "FAILED", "4", parent_task_id="root"),
        described("ingest", "SUCCEEDED", "5"),
    ]
    why = {"code": 13, "message": "out of\nmemory"}
    kubeflow.stories = [look("RUNNING"), look("FAILED", *tasks, error=why)]
    done = submit(task, kubeflow, "--wait", "--approach", "head", "--approach", "probe")
    assert done.returncode == 1
    assert "error: the run failed in Fine-tune head, Fit probe: out of memory\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_is_cancelled_ends_the_waiting(task, kubeflow):
    kubeflow.stories = [look("RUNNING"), look("CANCELING"), look("CANCELED")]
    done = submit(task, kubeflow, "--wait")
    assert done.returncode == 1
    assert "error: the run was cancelled\n" in done.stderr


def test_a_server_that_is_away_for_a_while_does_not_end_the_waiting(task, kubeflow):
    kubeflow.broken = 3
    done = submitted(task, kubeflow, "--wait")
    assert done.stderr.count("the server does not answer") == 3
    assert len(kubeflow.runs) == 1


def log_out(kubeflow):
    kubeflow.cookie = "another"


def expire(kubeflow):
    kubeflow.token = "another"


def stay_away(kubeflow):
    kubeflow.broken = 99


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lambda kubeflow: None, "not done after 0 minutes"),
        (log_out, "a web page answers in place of the API"),
        (expire, "the credentials are refused or expired (401)"),
        (stay_away, "refused (503"),
    ],
)
def test_a_run_whose_end_cannot_be_seen_is_exit_status_3(task, kubeflow, monkeypatch, happens, why):
    """With 2, whoever submits again on a failure would have two runs."""
    kubeflow.stories = [look("RUNNING")]
    monkeypatch.setattr(watch, "_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(kubeflow, "_post_runs", started(kubeflow, happens), raising=False)
    done = submit(task, kubeflow, "--wait", "--timeout", "0", LLMCLF_KFP_TOKEN="tok-123")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "error: " in done.stderr
    assert why in done.stderr
    run = only(kubeflow.runs)
    assert f"the run goes on: {kubeflow.url}/#/runs/details/{run}" in done.stderr
    assert "Traceback" not in done.stderr


def started(kubeflow, happens):
    """The server's handler that starts a run; something happens to it afterwards."""
    start = kubeflow._post_runs

    def handler(query, body):
        made = start(query, body)
        happens(kubeflow)
        return made

    return handler


def test_who_stops_waiting_hears_that_the_run_goes_on(task, kubeflow, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    kubeflow.stories = [look("RUNNING")]
    monkeypatch.setattr(watch.time, "sleep", interrupt)
    done = submit(task, kubeflow, "--wait")
    assert done.returncode != 0
    assert f"the run goes on: {kubeflow.url}/#/runs/details/" in done.stdout
