"""The fits and the encoder in MLflow: one run each, with the figures that all approaches have."""

import pytest

from llmclf_core.config import (
    BaseModelConfig,
    EncoderTrainingConfig,
    ProbeConfig,
    TfidfConfig,
    TokenizeConfig,
)
from llmclf_core.registry.journal import JOURNAL
from llmclf_core.steps.finetune_encoder import finetune_encoder
from llmclf_core.steps.fit_probe import fit_probe
from llmclf_core.steps.fit_tfidf import fit_tfidf
from llmclf_core.tokens.tokenize import tokenize
from tests.mlflow_helpers import all_runs, use_store


def tfidf(tmp_path, corpus_path, tiny_base, tiny_encoder):
    return fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")


def probe(tmp_path, corpus_path, tiny_base, tiny_encoder):
    config = BaseModelConfig(source=str(tiny_base), dtype="float32")
    tokenize(corpus_path, config, TokenizeConfig(max_length=64), tmp_path / "t")
    return fit_probe(tmp_path / "t", config, ProbeConfig(), tmp_path / "c")


def encoder(tmp_path, corpus_path, tiny_base, tiny_encoder):
    config = BaseModelConfig(source=str(tiny_encoder), dtype="float32")
    tokenize(corpus_path, config, TokenizeConfig(max_length=64), tmp_path / "t")
    training = EncoderTrainingConfig(epochs=1)
    return finetune_encoder(tmp_path / "t", config, None, training, tmp_path / "c", seed=3)


@pytest.mark.parametrize("make", [tfidf, probe, encoder], ids=lambda f: f.__name__)
def test_run(make, tmp_path, corpus_path, tiny_base, tiny_encoder, monkeypatch):
    client = use_store(f"sqlite:///{tmp_path}/mlflow.db", monkeypatch)
    classifier = make(tmp_path, corpus_path, tiny_base, tiny_encoder)
    (run,) = all_runs(client)
    assert run.info.status == "FINISHED"
    assert run.data.tags["llmclf.approach"] == classifier.approach == run.data.params["approach"]
    assert run.data.tags["llmclf.corpus"] == "test-single-0" == classifier.lineage["corpus"]
    assert run.data.tags.get("llmclf.seed") == ("3" if make is encoder else None)
    for name, value in (classifier.cost | classifier.validation).items():
        assert run.data.metrics[name] == pytest.approx(value), name
    assert {"validation_macro_f1", "validation_loss", "best_validation_macro_f1"} <= set(
        run.data.metrics
    )
    assert len(run.inputs.dataset_inputs) == 2
    assert (tmp_path / "c" / JOURNAL).is_file()


def test_fit_that_is_asked_for_again_is_the_same_run(tmp_path, corpus_path, monkeypatch):
    client = use_store(f"sqlite:///{tmp_path}/mlflow.db", monkeypatch)
    first = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "a")
    second = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "b")
    (run,) = all_runs(client)
    assert first.lineage["run_key"] == second.lineage["run_key"] == run.data.tags["llmclf.run_key"]
    assert run.data.metrics["train_seconds"] == pytest.approx(first.cost["train_seconds"])
