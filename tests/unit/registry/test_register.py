import json
import logging
import os
import shutil
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pandas as pd
import pytest

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import Corpus
from llmclf_core.config import EvaluateConfig, RegisterConfig, parse
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.registry.download import download_classifier
from llmclf_core.registry.journal import JOURNAL
from llmclf_core.registry.package import CLASSIFIER
from llmclf_core.registry.register import Registration, register
from llmclf_core.registry.tracking import Tracker
from tests.conftest import make_corpus
from tests.mlflow_helpers import all_runs, free_port, points, run_of, use_store

NAME = "patents"


@pytest.fixture
def submit(store, tmp_path, corpus_path):
    """Register a (classifier, evaluation) pair under the task's name."""

    def call(pair, corpus=corpus_path, **settings):
        config = RegisterConfig(**settings)
        output = tmp_path / "out" / "registration.json"
        result = register(pair[0], pair[1], corpus, config, NAME, output)
        assert Registration.load(output) == result
        return result

    return call


def evaluated(classifier, corpus_path, directory):
    """The pair of an existing classifier, evaluated on another corpus."""
    evaluation = evaluate_classifier(
        load_classifier(classifier), Corpus.load(corpus_path), EvaluateConfig(bootstrap=20)
    )
    evaluation.save(directory / "evaluation")
    return classifier, directory / "evaluation"


@pytest.fixture
def other_corpus(tmp_path):
    make_corpus({"train": 12, "validation": 4, "test": 20}, seed=5).save(tmp_path / "corpus")
    return tmp_path / "corpus"


def test_first_version_becomes_champion(submit, store, good, tiny_base):
    result = submit(good, floor={"macro_f1": 0.5})
    assert (result.name, result.version, result.promoted) == (NAME, "1", True)
    assert result.aliases == ["challenger", "champion"]
    assert result.reasons[0].startswith("macro_f1 ")
    assert result.reasons[1] == "there is no champion to compare with"
    version = store.get_model_version_by_alias(NAME, "champion")
    tags = version.tags
    assert tags["llmclf.gate"] == "passed"
    assert tags["llmclf.gate_reasons"] == "; ".join(result.reasons)
    assert tags["llmclf.classifier"] == load_classifier(good[0]).fingerprint
    assert tags["llmclf.corpus"] == "test-single-0"
    assert tags["llmclf.base"] == str(tiny_base)
    assert 0.5 < float(tags["metric.macro_f1"]) <= 1
    assert version.run_id == result.run_id == tags["llmclf.run"]
    (output,) = store.get_run(result.run_id).outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    assert store.get_logged_model(output.model_id).status == "READY"


def test_registered_model_answers(submit, store, good, monkeypatch):
    result = submit(good)
    mlflow.set_tracking_uri(store.tracking_uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        assert mlflow.pyfunc.load_model(result.model_uri).metadata.run_id == result.run_id
    finally:
        mlflow.set_tracking_uri(None)
    texts = ["the goal of the match", "song by the band"]
    answer = model.predict(pd.DataFrame({"text": texts}))
    assert [[label] for label in answer["label"]] == load_classifier(good[0]).predict(texts)


def test_again_is_the_same_version(submit, store, good):
    first, second = submit(good), submit(good)
    assert first.version == second.version
    assert first.run_id == second.run_id
    assert len(store.search_model_versions(f"name='{NAME}'")) == 1
    assert len(all_runs(store)) == 1
    experiment = all_runs(store)[0].info.experiment_id
    assert len(store.search_logged_models([experiment])) == 1
    assert second.promoted
    assert second.reasons == [
        "it is the champion already, and remains so until another version passes"
    ]


def test_champion_that_misses_a_raised_floor_is_refused_and_keeps_its_alias(submit, store, good):
    submit(good)
    result = submit(good, floor={"macro_f1": 1.01})
    assert (result.promoted, result.aliases) == (False, ["challenger", "champion"])
    assert "below the floor 1.0100" in result.reasons[0]
    assert result.reasons[1].startswith("it is the champion already, and remains so until")
    assert store.get_model_version(NAME, "1").tags["llmclf.gate"] == "refused"


def test_floor_refuses_and_says_why(submit, store, good, caplog):
    with caplog.at_level(logging.INFO):
        result = submit(good, floor={"macro_f1": 1.01})
    assert not result.promoted
    assert result.aliases == ["challenger"]
    assert "below the floor 1.0100" in result.reasons[0]
    version = store.get_model_version_by_alias(NAME, "challenger")
    assert version.tags["llmclf.gate"] == "refused"
    assert "below the floor" in version.tags["llmclf.gate_reasons"]
    assert "gate refused: macro_f1" in caplog.text
    assert submit(good).promoted  # the same version, with the floor taken away
    assert store.get_model_version(NAME, "1").tags["llmclf.gate"] == "passed"


def test_significantly_worse_than_the_champion_is_refused(submit, store, good, bad):
    assert submit(good).promoted
    result = submit(bad)
    assert (result.version, result.promoted, result.aliases) == ("2", False, ["challenger"])
    assert result.reasons[0].startswith("significantly worse: macro F1 -")
    assert "champion (version 1) on 36 rows" in result.reasons[0]
    assert int(store.get_model_version_by_alias(NAME, "champion").version) == 1


def test_better_than_the_champion_is_promoted(submit, store, good, bad):
    assert submit(bad).promoted
    result = submit(good)
    assert (result.version, result.promoted) == ("2", True)
    assert int(store.get_model_version_by_alias(NAME, "champion").version) == 2
    assert store.get_model_version(NAME, "1").aliases == []


def test_champion_predicts_rows_it_was_not_measured_on(
    submit, good, bad, other_corpus, tmp_path, caplog
):
    submit(good)
    with caplog.at_level(logging.INFO):
        result = submit(evaluated(bad[0], other_corpus, tmp_path), corpus=other_corpus)
    assert "champion version 1 predicts the test rows" in caplog.text
    assert "champion (version 1) on 60 rows" in result.reasons[0]
    assert not result.promoted


def test_stored_predictions_that_are_damaged_are_made_again(submit, store, good, bad, caplog):
    first = submit(good)
    folder = store.get_run(first.run_id).info.artifact_uri.removeprefix("file://")
    stored = list(Path(folder, "predictions").rglob("*.arrow"))
    assert stored
    for path in stored:
        path.write_bytes(b"damaged")
    with caplog.at_level(logging.INFO):
        result = submit(bad)
    assert "stored predictions of version 1 are not used" in caplog.text
    assert "champion (version 1) on 36 rows" in result.reasons[0]


def test_champion_whose_base_is_gone_refuses_with_the_reason(
    submit, store, good, bad, other_corpus, tmp_path
):
    first = submit(good)
    source = store.get_model_version(NAME, first.version).source
    location = store.get_logged_model(source.removeprefix("models:/")).artifact_location
    header = Path(location.removeprefix("file://"), CLASSIFIER, "classifier.json")
    data = json.loads(header.read_text())
    data["base"]["source"] = "/gone/base"
    header.write_text(json.dumps(data))
    result = submit(evaluated(bad[0], other_corpus, tmp_path), corpus=other_corpus)
    assert not result.promoted
    assert "cannot be compared with the champion (version 1): " in result.reasons[0]
    assert "/gone/base" in result.reasons[0]


def test_run_of_the_training_is_used_and_caught_up(submit, store, good, tmp_path, monkeypatch):
    """Training and evaluation had no server; register sends what they could not."""
    classifier, evaluation = tmp_path / "classifier", tmp_path / "evaluation"
    shutil.copytree(good[0], classifier)
    shutil.copytree(good[1], evaluation)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    with Tracker.open(tmp_path / "j", run_key="train", name="head") as tracker:
        tracker.metrics({"loss": 1.0}, 0)
    shutil.copyfile(tmp_path / "j", classifier / JOURNAL)
    with Tracker.resume(classifier, evaluation / JOURNAL) as tracker:
        tracker.metrics({"test/macro_f1": 0.9})
    use_store(store.tracking_uri, monkeypatch)
    result = submit((classifier, evaluation))
    run = run_of(store, "train")
    assert result.run_id == run.info.run_id
    assert result.parent_run_id == run.data.tags["mlflow.parentRunId"]
    assert points(store, run.info.run_id, "loss") == [(0, 1.0)]
    assert points(store, run.info.run_id, "test/macro_f1") == [(0, 0.9)]
    assert run.info.status == "FINISHED"


def test_upload_that_failed_leaves_no_version_and_can_be_repeated(submit, store, good, monkeypatch):
    from mlflow import MlflowClient

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_model_artifacts", full)
        with pytest.raises(UserError, match="No space left"):
            submit(good)
    assert store.search_model_versions(f"name='{NAME}'") == []
    assert submit(good).version == "1"


def test_unknown_floor_is_refused_before_anything_is_registered(submit, store, good):
    with pytest.raises(UserError, match=r"names 'f1', which no evaluation has; .*macro_f1"):
        submit(good, floor={"f1": 0.5})
    assert store.search_registered_models() == []


def test_evaluation_of_another_classifier_is_refused(submit, good, bad):
    with pytest.raises(UserError, match=r"evaluation is of classifier .*evaluate it again"):
        submit((good[0], bad[1]))


def test_evaluation_on_another_corpus_is_refused(submit, good, other_corpus):
    with pytest.raises(UserError, match=r"is on corpus test-single-0, but .*test-single-5"):
        submit(good, corpus=other_corpus)


def test_name_in_the_settings_wins(submit, good):
    assert submit(good, name="other").model_uri == "models:/other/1"


def test_name_that_mlflow_does_not_take_is_refused_in_the_settings():
    with pytest.raises(UserError, match=r"registry: invalid settings\n  name: "):
        parse(RegisterConfig, {"name": "a/b:c"}, "registry")


def test_download_leaves_the_process_its_stores(submit, good, tmp_path, monkeypatch):
    uri = submit(good).model_uri
    store = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    path = download_classifier(uri, store)
    assert (path / "classifier.json").exists()
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/other.db"


def test_no_store_is_refused(tmp_path, good, corpus_path):
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI is not set"):
        register(*good, corpus_path, RegisterConfig(), NAME, tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_dead_server_keeps_the_classifier(tmp_path, good, corpus_path, monkeypatch):
    use_store(f"http://u:hunter2@127.0.0.1:{free_port()}", monkeypatch)
    with pytest.raises(UserError) as caught:
        register(*good, corpus_path, RegisterConfig(), NAME, tmp_path / "r.json")
    assert f"The trained classifier is kept in {good[0]}" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "r.json").exists()
    assert load_classifier(good[0])
