"""What is the frozen probe's own; the rest is in tests/conformance and models/test_probe.py."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import Corpus, Tokens
from llmclf_core.config import BaseModelConfig, HeadConfig, ProbeConfig, TokenizeConfig
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.steps.fit_probe import fit_probe
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import tokenize


def config_of(base, **options):
    return BaseModelConfig(source=str(base), dtype="float32", **options)


@pytest.fixture(scope="module")
def tokens_path(tmp_path_factory, corpus_path, tiny_base):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    tokenize(corpus_path, config_of(tiny_base), TokenizeConfig(max_length=64), path)
    return path


def embed(base, texts, pooling, tmp_path, name):
    """Embeddings made apart from the step: one text after the other."""
    backbone = load_backbone(resolve(str(base)), config_of(base), torch.float32)
    model = HeadModel(backbone, ClassificationHead(64, 2, HeadConfig(pooling=pooling)))
    ids = [e.ids for e in Encoder(base, TokenizeConfig(max_length=64)).encode(texts)]
    return pooled_embeddings(model, ids, 0, 1, tmp_path / f"{name}.npy")


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_equals_a_plain_pipeline_on_embeddings(
    tokens_path, tiny_base, corpus_path, tmp_path, pooling
):
    corpus = Corpus.load(corpus_path)
    train, test = corpus.splits["train"], corpus.splits["test"]
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)).fit(
        embed(tiny_base, train["text"], pooling, tmp_path, "train"),
        [labels[0] for labels in train["labels"]],
    )
    config = ProbeConfig(pooling=pooling, c=[0.3])
    classifier = fit_probe(tokens_path, config_of(tiny_base), config, tmp_path / "c")
    expected = plain.decision_function(embed(tiny_base, test["text"], pooling, tmp_path, "test"))
    np.testing.assert_allclose(classifier.predict_logits(test["text"]), expected, atol=1e-3)


def test_regularisation_is_the_best_on_the_validation_rows(tokens_path, tiny_base, tmp_path):
    candidates = [1e-4, 0.1, 100.0]
    ranks = {}
    for c in candidates:
        alone = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(c=[c]), tmp_path / f"c{c}")
        ranks[c] = alone.validation["best_validation_macro_f1"]
    chosen = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(c=candidates), tmp_path / "c")
    assert len(set(ranks.values())) > 1
    assert chosen.validation["best_validation_macro_f1"] == max(ranks.values())
    assert ranks[chosen.validation["best_c"]] == max(ranks.values())


def test_artifact_is_one_small_layer(tokens_path, tiny_base, tmp_path):
    classifier = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "c")
    (weights,) = (tmp_path / "c").rglob("*.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(weights).items()}
    assert shapes == {"out.weight": (3, 64), "out.bias": (3,)}
    assert classifier.cost["trained_parameters"] == 3 * 65


def test_cost_counts_the_embedding(tokens_path, tiny_base, tmp_path, monkeypatch):
    plain = pooled_embeddings
    clock = {"now": 0.0}

    def slow(*arguments):
        clock["now"] += 100.0
        return plain(*arguments)

    monkeypatch.setattr("llmclf_core.steps.fit_probe.pooled_embeddings", slow)
    monkeypatch.setattr("llmclf_core.steps.fit.time.monotonic", lambda: clock["now"])
    classifier = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "c")
    assert classifier.cost["train_seconds"] == 200.0
    tokens = sum(len(ids) for ids in Tokens.load(tokens_path).splits["train"]["input_ids"])
    assert classifier.cost["train_tokens_per_second"] == tokens / 200.0
    assert classifier.cost["peak_memory_mb"] > 0


class Killed(BaseException):
    """Stands for kill -9 inside one process: nothing after it runs."""


def test_killed_embedding_goes_on(tokens_path, tiny_base, tmp_path, monkeypatch, own_cache):
    plain = HeadModel.hidden_states
    passes = []

    def counted(self, *arguments):
        passes.append(1)
        if len(passes) == 4:
            raise Killed
        return plain(self, *arguments)

    monkeypatch.setattr(HeadModel, "hidden_states", counted)
    monkeypatch.setattr("llmclf_core.steps.fit._SECONDS_BETWEEN_NOTES", 0.0)
    with pytest.raises(Killed):
        fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "c")
    assert not (tmp_path / "c").exists()
    (note,) = (own_cache / "training").glob("*/spent.json")
    noted = json.loads(note.read_text())
    noted["peak"]["memory"] = 10**15
    note.write_text(json.dumps(noted))
    classifier = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "c")
    batches = -(-72 // 16) + -(-24 // 16)
    assert len(passes) == 1 + batches  # the one that was killed is done again
    assert classifier.cost["train_seconds"] > noted["seconds"] > 0
    assert classifier.cost["peak_memory_mb"] == 1e9  # of the attempt that took most
    assert not list((own_cache / "training").glob("*/embeddings-*"))
    monkeypatch.undo()
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path / "fresh"))
    whole = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "whole")
    assert whole.fingerprint == classifier.fingerprint


def test_same_fit_again_embeds_nothing(tokens_path, tiny_base, tmp_path, monkeypatch):
    first = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "a")

    def again(*arguments):
        raise AssertionError("embedded again")

    monkeypatch.setattr("llmclf_core.steps.fit_probe.pooled_embeddings", again)
    second = fit_probe(tokens_path, config_of(tiny_base), ProbeConfig(), tmp_path / "b")
    assert second.fingerprint == first.fingerprint
    assert load_classifier(tmp_path / "b").cost == first.cost


def test_four_bit_base(tokens_path, tiny_base, tmp_path):
    config = config_of(tiny_base, quantization="nf4")
    classifier = fit_probe(tokens_path, config, ProbeConfig(), tmp_path / "c")
    assert any(type(m).__name__ == "Linear4bit" for m in classifier.model.modules())
    assert classifier.model.head.out.weight.dtype == torch.float32
