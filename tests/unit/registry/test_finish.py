"""The parent run's last status: what Kubeflow says, and what MLflow knows better."""

import pytest

from llmclf_core.errors import UserError
from llmclf_core.registry.runs import REGISTERED_TAG, describe_parent, parent_tags
from llmclf_core.steps.finish import finish
from tests.mlflow_helpers import all_runs, points


@pytest.fixture
def execution(store, monkeypatch):
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    return store


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("SUCCEEDED", "FINISHED"),
        ("COMPLETE", "FINISHED"),
        ("FAILED", "FAILED"),
        ("RUNNING", "FAILED"),
        ("", "FAILED"),
        ("CANCELED", "KILLED"),
        ("CANCELLED", "KILLED"),
    ],
)
def test_status(execution, state, status):
    assert finish(state) == status
    assert finish(state) == status
    (run,) = all_runs(execution)
    assert run.info.status == status
    assert run.data.tags["llmclf.pipeline_run"] == "exec-1"


@pytest.mark.parametrize("state", ["RUNNING", "FAILED", "STATE_UNSPECIFIED"])
def test_what_was_registered_is_finished_whatever_kubeflow_says(execution, state):
    tags = {REGISTERED_TAG: "news, version 3"}
    assert describe_parent(tags, metrics={"test_accuracy": 0.5})
    assert parent_tags().items() >= tags.items()
    assert finish(state) == "FINISHED"
    (run,) = all_runs(execution)
    assert run.info.status == "FINISHED"
    assert points(execution, run.info.run_id, "test_accuracy") == [(0, 0.5)]


def test_another_execution_does_not_count(execution, monkeypatch):
    describe_parent({REGISTERED_TAG: "news, version 3"})
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-2")
    assert parent_tags() == {}
    assert finish("RUNNING") == "FAILED"


def test_nothing_tracked_nothing_to_finish(monkeypatch):
    assert finish("FAILED") is None
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    assert finish("FAILED") is None


@pytest.mark.parametrize("state", ["FAILED", "SUCCEEDED"])
def test_a_server_that_is_down_fails_the_step_so_that_it_is_tried_again(monkeypatch, state):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    with pytest.raises(UserError, match="MLflow"):
        finish(state)
