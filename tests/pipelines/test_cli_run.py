"""The whole pipeline by the command line, in KFP's local runner, with SQLite MLflow."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import Corpus
from llmclf_core.evaluation.evaluation import Evaluation
from tests.pipelines.conftest import write_task


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of the task, shared by the tests that only look at it."""
    task = write_task(tmp_path_factory.mktemp("run"))
    task.write()
    done = task.llmclf("run", "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return task, done.stdout, summary_of(task)


def summary_of(task):
    latest = json.loads((task.root / "runs" / "latest.json").read_text())["run"]
    return json.loads((task.root / "runs" / latest / "summary.json").read_text())


def client_of(task):
    return MlflowClient(f"sqlite:///{task.root / 'runs' / 'mlflow.db'}")


def test_ends_with_what_the_user_needs(finished):
    _, printed, summary = finished
    assert printed.rpartition("register: done\n")[2].startswith(summary["answer"])
    assert f"{summary['metrics']['macro_f1']:.4f}" in printed
    assert "model:    tiny, version 1 (" in printed
    assert f"report:   {summary['report']}" in printed
    assert "mlflow ui --backend-store-uri" in printed
    assert "llmclf predict" in printed
    assert "Got executor_input" not in printed
    assert "Got executor_input" in (
        next((finished[0].root / "runs").glob("tiny-*/log.txt")).read_text()
    )


def test_summary_agrees_with_the_evaluation(finished):
    _, _, summary = finished
    evaluation = Evaluation.load(finished_path(summary, "evaluation"))
    assert summary["metrics"] == evaluation.metrics
    assert summary["test_rows"] == evaluation.rows
    low, high = summary["intervals"]["macro_f1"]
    assert low <= summary["metrics"]["macro_f1"] <= high


def finished_path(summary, name):
    from pathlib import Path

    return Path(summary["artifacts"][name])


def test_evaluation_is_of_the_test_rows(finished):
    _, _, summary = finished
    corpus = Corpus.load(finished_path(summary, "corpus"))
    evaluation = Evaluation.load(finished_path(summary, "evaluation"))
    assert evaluation.predictions.ids == list(corpus.splits["test"]["id"])


def test_mlflow_has_parent_nested_run_and_version(finished):
    task, _, summary = finished
    client = client_of(task)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parent = next(r for r in runs if "llmclf.pipeline_run" in r.data.tags)
    nested = next(r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id)
    assert {parent.info.status, nested.info.status} == {"FINISHED"}
    assert nested.data.params["lora.rank"] == "4"
    assert nested.data.metrics["test_macro_f1"] == pytest.approx(summary["metrics"]["macro_f1"])
    for cost in (
        "trained_parameters",
        "train_seconds",
        "train_tokens_per_second",
        "peak_memory_mb",
    ):
        assert nested.data.metrics[cost] > 0
    losses = client.get_metric_history(nested.info.run_id, "train_loss")
    assert sorted(p.step for p in losses) == list(range(1, len(losses) + 1))
    assert {i.dataset.digest for i in nested.inputs.dataset_inputs} == {summary["corpus"]}
    version = client.get_model_version_by_alias("tiny", "champion")
    assert str(version.version) == summary["registration"]["version"]
    assert client.get_model_version_by_alias("tiny", "challenger").version == version.version


def test_predict_equals_the_classifier_in_memory(finished):
    task, _, summary = finished
    classifier = load_classifier(finished_path(summary, "champion"))
    texts = ["match goal team player", "song band, album", "🎸 ein Text"]
    table = task.root / "new.csv"
    pd.DataFrame({"text": texts, "key": ["x", "y", "z"]}).to_csv(table, index=False)
    done = task.llmclf("predict", "--input", "new.csv", "--output", "out.parquet", "--id", "key")
    assert done.returncode == 0, done.stderr
    out = pd.read_parquet(task.root / "out.parquet")
    expected = classifier.predict_proba(texts)
    got = np.array([[row[n] for n in classifier.labels.names] for row in out["probabilities"]])
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert out["predicted"].tolist() == [p[0] for p in classifier.predict(texts)]
    assert out["id"].tolist() == ["x", "y", "z"]


def test_predict_by_alias_prints_label_and_probability(finished):
    task, _, summary = finished
    classifier = load_classifier(finished_path(summary, "champion"))
    done = task.llmclf("predict", "--model", "models:/tiny@champion", "match goal team player")
    assert done.returncode == 0, done.stderr
    best = classifier.predict_proba(["match goal team player"])[0]
    assert done.stdout.startswith(classifier.predict(["match goal team player"])[0][0] + "\t")
    assert f"{best.max():.4f}" in done.stdout
    done = task.llmclf("predict", "--model", "models:/none/1", "x")
    assert done.returncode == 2
    assert "cannot fetch models:/none/1" in done.stderr


def test_second_run_reuses_and_another_seed_trains(finished):
    task, _, summary = finished
    again = task.llmclf("run", "recipe.yaml")
    assert again.returncode == 0, again.stderr
    assert re.findall(r"^(\S+): done before, reused", again.stdout, re.M) == [
        "ingest", "tokenize", "finetune-head", "evaluate"
    ]  # fmt: skip
    second = summary_of(task)
    assert second["metrics"] == summary["metrics"]
    assert second["registration"]["version"] == summary["registration"]["version"]
    other = task.llmclf("run", "recipe.yaml", "--seed", "1")
    assert other.returncode == 0, other.stderr
    assert re.findall(r"^(\S+): done before, reused", other.stdout, re.M) == ["ingest", "tokenize"]
    third = summary_of(task)
    assert third["classifier"] != summary["classifier"]
    assert third["registration"]["version"] == "2"
    assert "earlier: LLM with head, seed 0" in other.stdout


def test_changed_data_is_read_again(task):
    task.recipe["approaches"] = ["tfidf"]
    task.write()
    assert task.llmclf("run", "recipe.yaml").returncode == 0
    before = summary_of(task)["corpus"]
    with (task.root / "data.csv").open("a") as file:
        file.write("goal goal goal,sport\n")
    done = task.llmclf("run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert "ingest: done before" not in done.stdout
    assert summary_of(task)["corpus"] != before


def test_multi_label_with_nf4(tmp_path):
    task = write_task(tmp_path)
    rows = pd.read_csv(tmp_path / "data.csv")
    indicators = pd.get_dummies(rows["label"]).astype(int)
    indicators.loc[::5, "sport"] = 1
    pd.concat([rows["text"], indicators], axis=1).to_csv(tmp_path / "data.csv", index=False)
    task.recipe["ingest"]["labels"] = {
        "task": "multi", "layout": "indicators", "columns": list(indicators.columns)
    }  # fmt: skip
    task.write()
    done = task.llmclf("run", "recipe.yaml", "--quantization", "nf4")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(task)
    assert summary["approaches"][0]["quantization"] == "nf4"
    assert 0 <= summary["metrics"]["macro_f1"] <= 1
    done = task.llmclf("predict", "goal match team", "bank market")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "give a recipe"),
        (["run", "none.yaml"], "cannot read recipe none.yaml"),
        (["run", "recipe.yaml", "--set", "training.epochs"], "write it as section.setting=value"),
        (["run", "recipe.yaml", "--set", "training.speed=3"], "training.speed: no such setting"),
        (["run", "recipe.yaml", "--data", "none.csv"], "none.csv does not exist"),
        (["run", "recipe.yaml", "--base", "/none"], "no such file or directory"),
        (["run", "recipe.yaml", "--runs", "data.csv/x"], "cannot write"),
        (["predict"], "give either texts, or --input together with --output"),
        (["predict", "x", "--runs", "none"], "no finished run in none"),
        (["predict", "x", "--model", "models:/none/1"], "no MLflow store in runs"),
        (["predict", "x", "--model", "data.csv"], "cannot read data.csv"),
        (["replay", "none.jsonl"], "cannot read the tracking journal none.jsonl"),
        (["fetch", "none"], "no asset none; there are smollm2, minilm, bbc, orange, debian-tags"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_a_mistake_is_one_message_and_exit_status_2(task, arguments, message):
    task.write()
    done = task.llmclf(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr.replace("\n", " ")
    assert "error: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_unreachable_mlflow_loses_no_training(task):
    task.write()
    broken = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = task.llmclf("run", "recipe.yaml", **broken)
    assert done.returncode == 2
    assert "MLflow at http://127.0.0.1:9 cannot be used" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    done = task.llmclf("run", "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finetune-head: done before, reused" in done.stdout
    client = client_of(task)
    experiment = client.get_experiment_by_name("tiny")
    nested = [
        r
        for r in client.search_runs([experiment.experiment_id])
        if "test_macro_f1" in r.data.metrics and "lora.rank" in r.data.params
    ]
    assert len(nested) == 1
    losses = client.get_metric_history(nested[0].info.run_id, "train_loss")
    assert [p.step for p in losses] == list(range(1, len(losses) + 1))
    assert os.environ.get("MLFLOW_TRACKING_URI") is None
