"""What is submitted to Kubeflow runs: a compiled file, loaded back and run here to its end.

The runner has no Kubernetes: images, pods' settings and secrets are checked in `test_compile.py`.
"""

import contextlib
import io
import json
import os
from unittest import mock

import pytest
from kfp import components, local
from mlflow import MlflowClient

from llmclf_core.config import load_recipe
from llmclf_core.registry.runs import REGISTERED_TAG
from pipelines.compile import compile_to
from pipelines.store import prepare_store
from tests.forks import forked_steps
from tests.pipelines.conftest import write_task

EXPERIMENT = "tiny"

pytestmark = pytest.mark.filterwarnings(
    "ignore:Task .* have no effect in the current local runner",
    "ignore:You may be attemping to run a task that uses custom",
)


class Executed:
    """A compiled pipeline that has run.

    Attributes:
        outputs: directory of all artifacts, by step.
        client: of its MLflow store.
        error: that the runner raised, if any.
        said: what runner and steps printed.
    """

    def __init__(self, task, execution):
        self.task, self.execution, self.error = task, execution, None
        self.outputs = task.root / execution
        self.uri = prepare_store(task.root / "runs", EXPERIMENT)
        self.client = MlflowClient(self.uri)
        self._run()

    def _run(self):
        file = self.task.root / f"{self.execution}.yaml"
        compile_to(file, load_recipe(self.task.write()))
        environment = self.task.environment() | {
            "MLFLOW_TRACKING_URI": self.uri,
            "LLMCLF_PIPELINE_RUN": self.execution,
        }
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(self.outputs),
            workspace_root=str(self.task.root / "workspace"),
        )
        printed = io.StringIO()
        with (
            forked_steps(),
            mock.patch.dict(os.environ, environment),
            contextlib.chdir(self.task.root),
            contextlib.redirect_stdout(printed),
        ):
            try:
                components.load_component_from_file(str(file))()
            except RuntimeError as error:
                self.error = error
        self.said = printed.getvalue()

    def runs(self):
        experiment = self.client.get_experiment_by_name(EXPERIMENT).experiment_id
        return self.client.search_runs([experiment])

    def parent(self, execution):
        tag = "llmclf.pipeline_run"
        (parent,) = [r for r in self.runs() if r.data.tags.get(tag) == execution]
        return parent

    def metadata(self, step):
        """Of the artifacts of a step, by output."""
        (file,) = self.outputs.rglob(f"{step}/executor_output.json")
        written = json.loads(file.read_text())["artifacts"]
        return {name: each["artifacts"][0]["metadata"] for name, each in written.items()}

    def steps(self):
        return {file.parent.name for file in self.outputs.rglob("executor_output.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two approaches, one of which cannot train."""
    task = write_task(tmp_path_factory.mktemp("compiled"))
    task.recipe["approaches"] = ["tfidf", "head"]
    task.recipe["lora"]["targets"] = ["no_such_layer"]
    task.recipe["cluster"] = {"gpus": 0}
    return Executed(task, "run-1")


@pytest.fixture(scope="module")
def broken(done):
    """The same with data that are not there."""
    done.task.recipe["ingest"]["source"] = "absent.csv"
    done.task.recipe["cluster"] = {"gpus": 0, "retries": 1, "backoff_seconds": 1}
    return Executed(done.task, "run-2")


def test_all_steps_run_and_the_exit_handler_after_them(done):
    assert done.error is None
    assert done.steps() == {
        "ingest", "fit-tfidf", "evaluate", "tokenize", "finetune-head", "evaluate-2", "compare",
        "register", "finish",
    }  # fmt: skip


def test_mlflow_has_the_run_with_its_figures(done):
    parent = done.parent(done.execution)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags[REGISTERED_TAG] == "tiny, version 1"
    assert parent.data.tags["llmclf.champion"] == "tfidf"
    nested = [r for r in done.runs() if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    (words,) = [r for r in nested if r.data.tags["llmclf.approach"] == "tfidf"]
    figures = parent.data.metrics
    assert figures["test_macro_f1"] == words.data.metrics["test_macro_f1"] > 0.3
    version = done.client.get_model_version_by_alias("tiny", "champion")
    assert version.run_id == words.info.run_id


def test_the_approach_that_failed_does_not_look_green(done):
    assert "no_such_layer" in done.parent(done.execution).data.tags["llmclf.missing"]
    for step, output, title in (
        ("finetune-head", "classifier", "LLM with head, seed 0"),
        ("evaluate-2", "evaluation", "Evaluation of head, seed 0"),
        ("evaluate-2", "report", "Report of head, seed 0"),
    ):
        metadata = done.metadata(step)[output]
        assert metadata["display_name"] == f"FAILED: {title}"
        assert "no_such_layer" in metadata["failed"]


def test_every_artifact_has_a_readable_name(done):
    titles = [
        each.get("display_name")
        for step in done.steps() - {"finish"}
        for each in done.metadata(step).values()
    ]
    assert None not in titles
    assert {"Corpus", "TF-IDF", "Evaluation of tfidf", "Tokens for head", "Champion"} <= {*titles}
    assert len(set(titles)) == len(titles)


def test_a_step_that_fails_is_tried_again_and_mlflow_told(broken):
    assert "ingest" in str(broken.error)
    assert broken.steps() == {"finish"}
    assert broken.parent("run-2").info.status == "FAILED"
    assert broken.said.count("ingest: begins") == 2
    assert broken.said.count("absent.csv does not exist") == 2


def test_the_runs_do_not_mix(done, broken):
    assert done.parent("run-1").info.status == "FINISHED"
    assert REGISTERED_TAG not in done.parent("run-2").data.tags
