"""A recipe that a cluster can run, and a stand-in of Kubeflow."""

import copy
import os

import kfp
import pytest

from pipelines.kubeflow import watch
from tests.pipelines.conftest import Task
from tests.pipelines.kfp_stand_in import Kubeflow, serve

RECIPE = {
    "name": "tiny",
    "ingest": {"source": "acme/reviews", "revision": "a1"},
    "base": {"source": "Qwen/Qwen3-0.6B"},
    "approaches": ["tfidf"],
    "seeds": [3, 4],
    "training": {"epochs": 2},
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No context of the user's own, and no waiting between two looks."""
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(watch, "_POLL_SECONDS", 0.01)
    for name in [n for n in os.environ if n.startswith(("KF_PIPELINES", "LLMCLF_KFP"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def task(tmp_path):
    made = Task(tmp_path, copy.deepcopy(RECIPE))
    made.write()
    return made


@pytest.fixture
def kubeflow():
    with serve(Kubeflow()) as server:
        yield server
