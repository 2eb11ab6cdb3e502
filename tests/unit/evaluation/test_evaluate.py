"""The whole evaluation: figures, refusals, and what is saved."""

import copy
import json
import logging

import numpy as np
import pytest
from sklearn.metrics import f1_score

from llmclf_core.approaches import APPROACHES
from llmclf_core.approaches.base import Calibration
from llmclf_core.artifacts import Predictions
from llmclf_core.config import EvaluateConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluate import evaluate, evaluate_classifier
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.metrics import probability_metrics
from llmclf_core.labels import LabelSpace

from .conftest import TableClassifier, build

CONFIG = EvaluateConfig(bootstrap=100, batch_size=2)


def test_figures_come_from_the_test_rows_alone(judged, task):
    corpus, classifier = judged
    result = evaluate_classifier(classifier, corpus, CONFIG)
    test = corpus.splits["test"]
    assert classifier.asked == list(test["text"])
    assert result.predictions.ids == list(test["id"])
    truth = corpus.labels.indicators(list(test["labels"]))
    np.testing.assert_array_equal(result.predictions.truth, truth)
    logits = np.asarray([classifier.table[t] for t in test["text"]], np.float32)
    probabilities = classifier.calibration.probabilities(logits, corpus.labels)
    np.testing.assert_array_equal(result.predictions.probabilities, probabilities)
    predicted = classifier.calibration.decide(probabilities, corpus.labels)
    assert result.metrics["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    low, high = result.intervals["macro_f1"]
    assert low < result.metrics["macro_f1"] < high
    assert (result.approach, result.rows, result.temperature) == ("table", 60, 2.0)
    assert result.texts_per_second == pytest.approx(60 / result.seconds)


def test_figures_before_calibration_are_those_at_temperature_one(judged):
    corpus, classifier = judged
    result = evaluate_classifier(classifier, corpus, CONFIG)
    plain = Calibration.none(4).probabilities(result.predictions.logits, corpus.labels)
    before = probability_metrics(result.predictions.truth, plain, corpus.labels)
    for name, value in before.items():
        assert result.metrics[f"uncalibrated_{name}"] == value
        assert result.metrics[name] != value
    bins = result.reliability
    assert bins["before"] != bins["after"]
    assert sum(b["count"] for b in bins["before"]) == sum(b["count"] for b in bins["after"])


def test_saved_and_loaded_evaluation_is_the_same(judged, tmp_path):
    result = evaluate_classifier(judged[1], judged[0], CONFIG)
    result.save(tmp_path / "out", "<!doctype html>")
    loaded = Evaluation.load(tmp_path / "out")
    assert loaded.to_json() == result.to_json()
    for kept in (loaded.predictions, Predictions.load(tmp_path / "out")):
        for name in ("truth", "logits", "probabilities", "predicted"):
            ours, theirs = getattr(kept, name), getattr(result.predictions, name)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        assert (kept.ids, kept.labels) == (result.predictions.ids, result.predictions.labels)
        assert (kept.corpus, kept.classifier) == ("corpusprint", judged[1].fingerprint)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"evaluation.json", "predictions.json", "report.html", "rows"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_evaluation_of_an_older_version_is_refused(judged, tmp_path):
    evaluate_classifier(judged[1], judged[0], CONFIG).save(tmp_path / "out")
    header = tmp_path / "out/evaluation.json"
    data = json.loads(header.read_text("utf-8"))
    del data["cost"]
    header.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"lacks something .*'cost'; make it again"):
        Evaluation.load(tmp_path / "out")


def test_json_is_plain_and_has_no_nan(judged, tmp_path):
    evaluate_classifier(judged[1], judged[0], CONFIG).save(tmp_path / "out")

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "out/evaluation.json").read_text("utf-8")
    assert json.loads(text, parse_constant=refuse)["rows"] == 60


def test_from_directories_to_a_directory(judged, tmp_path, monkeypatch):
    corpus, classifier = judged
    where = f"{TableClassifier.__module__}:{TableClassifier.__name__}"
    monkeypatch.setitem(APPROACHES, "table", where)
    corpus.save(tmp_path / "corpus")
    classifier.lineage = {"seed": 3, "corpus": "corpusprint"}
    classifier.cost = {"train_seconds": 5.0}
    classifier.validation = {"best_validation_macro_f1": 0.75}
    (tmp_path / "journal").write_text("x" * 100_000)
    classifier.save(tmp_path / "classifier", {"tracking.jsonl": tmp_path / "journal"})
    args = (tmp_path / "classifier", tmp_path / "corpus", CONFIG, tmp_path / "out")
    result = evaluate(*args)
    direct = evaluate_classifier(classifier, corpus, CONFIG)
    assert result.metrics == direct.metrics
    assert Evaluation.load(tmp_path / "out").to_json() == result.to_json()
    assert result.trained_on == "corpusprint"
    own = [tmp_path / "classifier" / name for name in ("classifier.json", "table.json")]
    size = sum(file.stat().st_size for file in own)
    assert result.cost == {"train_seconds": 5.0, "artifact_mb": size / 1e6}
    assert result.validation == {"best_validation_macro_f1": 0.75}
    assert (result.seed, result.base, result.quantization) == (3, None, "none")
    assert result.trial == "table (seed 3)"
    assert result.seconds_for(120) == pytest.approx(5 + 2 * result.seconds)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LabelSpace(("label 0", "label 1"), "single"), "does not know 'label 2', 'label 3'"),
        (
            LabelSpace(("label 0", "label 1", "label 2", "label 3", "extra"), "single"),
            "the corpus does not have its 'extra'",
        ),
        (
            LabelSpace(("label 1", "label 0", "label 2", "label 3"), "single"),
            "the same labels are in another order",
        ),
        (
            LabelSpace(("label 0", "label 1", "label 2", "label 3"), "multi"),
            "it is multi-label, the corpus is single-label",
        ),
        (
            LabelSpace(tuple("ab"), "single"),
            "does not know 'label 0', 'label 1', 'label 2', 'label 3'",
        ),
    ],
)
def test_other_labels_are_refused(labels, message):
    corpus, _ = build("single")
    with pytest.raises(UserError, match=message):
        evaluate_classifier(TableClassifier(labels, {}), corpus, CONFIG)


def test_many_missing_labels_are_cut_short():
    corpus, _ = build("single", n_labels=30)
    with pytest.raises(UserError, match=r"'label 9' …;"):
        evaluate_classifier(TableClassifier(LabelSpace(("x", "y"), "single"), {}), corpus, CONFIG)


@pytest.mark.parametrize("missing", [True, False])
def test_no_test_rows_is_refused(judged, missing):
    corpus, classifier = judged
    corpus = copy.copy(corpus)
    corpus.splits = dict(corpus.splits)
    if missing:
        del corpus.splits["test"]
    else:
        corpus.splits["test"] = corpus.splits["test"].select([])
    with pytest.raises(UserError, match="no test rows"):
        evaluate_classifier(classifier, corpus, CONFIG)


def test_scores_that_are_not_numbers_are_refused_with_the_row(judged):
    corpus, classifier = judged
    classifier.table["text 17"][1] = float("nan")
    with pytest.raises(UserError, match="no finite score for row 'r17'"):
        evaluate_classifier(classifier, corpus, CONFIG)


def test_unwritable_output_says_so_and_leaves_nothing(judged, tmp_path):
    result = evaluate_classifier(judged[1], judged[0], CONFIG)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        result.save(tmp_path / "file" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_evaluation_of_an_older_llmclf_is_read(judged, tmp_path):
    evaluate_classifier(judged[1], judged[0], CONFIG).save(tmp_path / "out")
    header = tmp_path / "out/evaluation.json"
    data = json.loads(header.read_text("utf-8"))
    del data["trained_on"]
    header.write_text(json.dumps(data), "utf-8")
    assert Evaluation.load(tmp_path / "out").trained_on is None


def test_killed_save_leaves_the_previous_evaluation(judged, tmp_path, monkeypatch):
    result = evaluate_classifier(judged[1], judged[0], CONFIG)
    result.save(tmp_path / "out")
    before = (tmp_path / "out/evaluation.json").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmclf_core.evaluation.evaluation.write_json", killed)
    result.metrics["macro_f1"] = -1.0
    with pytest.raises(KeyboardInterrupt):
        result.save(tmp_path / "out")
    assert (tmp_path / "out/evaluation.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_other_directories_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.json is missing"):
        Evaluation.load(tmp_path)


def test_progress_is_logged_without_a_terminal(judged, caplog):
    caplog.set_level(logging.INFO)
    evaluate_classifier(judged[1], judged[0], CONFIG)
    assert any("60" in record.getMessage() for record in caplog.records)


def test_one_test_row(task):
    corpus, classifier = build(task, rows=1)
    result = evaluate_classifier(classifier, corpus, CONFIG)
    low, high = result.intervals["accuracy"]
    assert low == high == result.metrics["accuracy"]
