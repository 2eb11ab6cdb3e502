"""All approaches in one run: compared on the same rows, and one that fails leaves the others."""

import json
import re

import pandas as pd
import pytest
from mlflow import MlflowClient

from llmclf_core.config import APPROACHES
from llmclf_core.evaluation.comparison import Comparison
from llmclf_core.evaluation.evaluation import Evaluation
from tests.conftest import build_tiny_encoder
from tests.pipelines.conftest import write_task


def compare_all(root):
    task = write_task(root)
    build_tiny_encoder(root / "encoder")
    task.recipe |= {
        "approaches": list(APPROACHES),
        "seeds": [0, 5],
        "tokenize": {"max_length": 256},
        "instruct": {"training": {"epochs": 1}},
        "encoder": {
            "base": {"source": str(root / "encoder")},
            "tokenize": {"max_length": 64},
            "training": {"epochs": 1},
        },
    }
    return task


def summary_of(task):
    latest = json.loads((task.root / "runs" / "latest.json").read_text())["run"]
    return json.loads((task.root / "runs" / latest / "summary.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    task = compare_all(tmp_path_factory.mktemp("compare"))
    task.write()
    done = task.llmclf("run", "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return task, done.stdout, summary_of(task)


def test_every_approach_and_seed_is_there(finished):
    _, printed, summary = finished
    assert [a["approach"] for a in summary["approaches"]] == list(APPROACHES)
    seeds = {a["approach"]: a["seeds"] for a in summary["approaches"]}
    assert seeds == {a: [None] if a in ("tfidf", "probe") else [0, 5] for a in APPROACHES}
    assert summary["missing"] == []
    assert summary["answer"] in printed


def test_the_champion_is_handed_on_and_registered(finished):
    task, _, summary = finished
    comparison = Comparison.load(task.root / summary["artifacts"]["comparison"])
    evaluation = Evaluation.load(task.root / summary["artifacts"]["evaluation"])
    assert comparison.champion == summary["champion"] == evaluation.approach
    assert comparison.winner.chosen == evaluation.predictions.classifier == summary["classifier"]
    client = MlflowClient(f"sqlite:///{task.root / 'runs' / 'mlflow.db'}")
    version = client.get_model_version_by_alias("tiny", "champion")
    assert version.tags["llmclf.approach"] == summary["champion"]
    done = task.llmclf("predict", "goal match team")
    assert done.returncode == 0, done.stderr


def test_mlflow_has_alike_runs_of_all(finished):
    task, _, summary = finished
    client = MlflowClient(f"sqlite:///{task.root / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parent = next(r for r in runs if "llmclf.pipeline_run" in r.data.tags)
    nested = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(r.data.tags["llmclf.approach"] for r in nested) == sorted(
        ["tfidf", "probe", *["encoder", "head", "instruct"] * 2]
    )
    common = set.intersection(*(set(r.data.metrics) for r in nested))
    assert common >= {
        "test_macro_f1", "test_macro_f1_low", "test_log_loss", "predict_texts_per_second",
        "train_seconds", "trained_parameters", "peak_memory_mb", "best_validation_macro_f1",
    }  # fmt: skip
    assert {r.info.status for r in [parent, *nested]} == {"FINISHED"}
    assert parent.data.metrics["test_macro_f1"] == pytest.approx(summary["metrics"]["macro_f1"])
    assert parent.data.tags["mlflow.note.content"].startswith(summary["answer"])
    logged = {f.path for f in client.list_artifacts(parent.info.run_id, "comparison")}
    assert logged == {"comparison/report.html", "comparison/comparison.json"}


def test_one_that_fails_is_named_and_tried_again(tmp_path):
    task = compare_all(tmp_path)
    task.recipe |= {"approaches": ["tfidf", "instruct"], "seeds": [0]}
    task.recipe["instruct"]["verbalizer"] = {"sport": "S", "money": "M"}
    task.write()
    for _ in range(2):
        done = task.llmclf("run", "recipe.yaml")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert re.search(r"missing:  instruct \(seed 0\), tokenize: .*music", done.stdout)
        assert "tokenize for instruct: begins" in done.stdout
        summary = summary_of(task)
        assert [a["approach"] for a in summary["approaches"]] == ["tfidf"]
        assert [m["approach"] for m in summary["missing"]] == ["instruct"]
        assert "music" in (task.root / summary["report"]).read_text()
    assert "fit-tfidf: done before, reused" in done.stdout


def test_all_failing_is_one_message(tmp_path):
    task = compare_all(tmp_path)
    task.recipe |= {"approaches": ["probe", "head"], "seeds": [0]}
    task.recipe["base"]["source"] = "/none"
    task.write()
    done = task.llmclf("run", "recipe.yaml")
    assert done.returncode == 2
    assert "head (seed 0), tokenize: " in done.stderr
    assert "probe, tokenize: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_multi_label(tmp_path):
    task = compare_all(tmp_path)
    rows = pd.read_csv(tmp_path / "data.csv")
    rows["label"] = [f"{a};{b}" if i % 3 else a for i, (a, b) in enumerate(pairs(rows["label"]))]
    rows.to_csv(tmp_path / "data.csv", index=False)
    task.recipe["ingest"]["labels"] = {"task": "multi", "layout": "delimited"}
    task.recipe |= {"approaches": ["tfidf", "instruct"], "seeds": [0]}
    task.write()
    done = task.llmclf("run", "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(task)
    assert [a["approach"] for a in summary["approaches"]] == ["tfidf", "instruct"]
    assert all(pair["mcnemar_p"] is None for pair in summary["pairs"])
    assert (task.root / summary["report"]).stat().st_size > 10_000


def pairs(labels):
    """Each label with that of the next row."""
    return zip(labels, [*labels[1:], labels[0]], strict=True)
