"""What is the encoder approach's own; the rest is in tests/conformance."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    RobertaConfig,
    RobertaForMaskedLM,
)

from llmclf_core.approaches import load_classifier
from llmclf_core.config import (
    BaseModelConfig,
    EncoderTrainingConfig,
    IngestConfig,
    LoraConfig,
    TokenizeConfig,
)
from llmclf_core.corpus import ingest
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import resolve
from llmclf_core.models.encoder import load_encoder, most_tokens
from llmclf_core.steps.finetune_encoder import EncoderJob, finetune_encoder
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import tokenize
from llmclf_core.training import loop
from llmclf_core.training.optimizer import make_optimizer

TEXTS = ["the goal of the match", "market share and price", "a song by the band", ""]
LABELS = LabelSpace(("money", "music", "sport"), "single")


def config_of(base, **options):
    return BaseModelConfig(**({"source": str(base), "dtype": "float32"} | options))


@pytest.fixture(scope="module")
def tokens_path(tmp_path_factory, corpus_path, tiny_encoder):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    tokenize(corpus_path, config_of(tiny_encoder), TokenizeConfig(max_length=64), path)
    return path


def train(tokens_path, base, output, lora=None, seed=0, own=None, **training):
    options = {"epochs": 2, "learning_rate": 1e-3, "patience": 0} | training
    adapter = None if lora is None else LoraConfig(**({"rank": 4} | lora))
    config = config_of(base, **(own or {}))
    return finetune_encoder(
        tokens_path, config, adapter, EncoderTrainingConfig(**options), output, seed
    )


def weights_in(path):
    return {
        k: v for file in sorted(path.rglob("*.safetensors")) for k, v in load_file(file).items()
    }


def assert_equal_weights(a, b):
    a, b = weights_in(a), weights_in(b)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_all_weights_change(tokens_path, tiny_encoder, tmp_path):
    train(tokens_path, tiny_encoder, tmp_path / "c")
    before, after = weights_in(tiny_encoder), weights_in(tmp_path / "c")
    common = before.keys() & after.keys()
    assert len(common) > 30
    assert not [name for name in common if torch.equal(before[name], after[name])]
    fresh = after.keys() - before.keys()
    assert {name.rpartition(".")[0] for name in fresh} == {"bert.pooler.dense", "classifier"}


def test_whole_model_needs_no_base(tokens_path, tiny_encoder, tmp_path):
    base = shutil.copytree(tiny_encoder, tmp_path / "base")
    classifier = train(tokens_path, base, tmp_path / "c")
    expected = classifier.predict_logits(TEXTS)
    shutil.rmtree(base)
    loaded = load_classifier(tmp_path / "c")
    np.testing.assert_allclose(loaded.predict_logits(TEXTS), expected, atol=1e-6)
    assert loaded.fingerprint == classifier.fingerprint


def test_whole_model_is_one_that_transformers_reads(tokens_path, tiny_encoder, tmp_path):
    classifier = train(tokens_path, tiny_encoder, tmp_path / "c")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "c" / "model").eval()
    assert plain.config.id2label == dict(enumerate(classifier.labels.names))
    assert plain.config.problem_type == "single_label_classification"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "c" / "tokenizer")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = plain(**batch).logits.numpy()
    np.testing.assert_allclose(classifier.predict_logits(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_lora_leaves_the_base_as_it_is(
    tokens_path, tiny_encoder, tmp_path, monkeypatch, quantization
):
    before = {}
    run = loop.Loop.run

    def remember(self):
        before.update({n: p.detach().clone() for n, p in self.task.model.named_parameters()})
        return run(self)

    monkeypatch.setattr(loop.Loop, "run", remember)
    own = {"quantization": quantization}
    classifier = train(tokens_path, tiny_encoder, tmp_path / "c", {}, own=own, epochs=3)
    after = dict(classifier.model.named_parameters())
    trained = {n for n in after if "lora_" in n} | classifier.model.head_names()
    assert {n.split(".")[-2] for n in classifier.model.head_names()} == {"dense", "classifier"}
    assert len(trained) == 28
    assert [n for n in after if not torch.equal(before[n], after[n])] == [
        n for n in after if n in trained
    ]
    assert all(after[n].dtype == torch.float32 for n in trained)
    saved = load_file(tmp_path / "c" / "head.safetensors")
    assert saved.keys() == classifier.model.head.keys()
    linear = [m for m in classifier.model.modules() if type(m).__name__ == "Linear4bit"]
    assert bool(linear) == (quantization == "nf4")


def test_all_weights_of_four_bits_cannot_be_trained(tokens_path, tiny_encoder, tmp_path):
    with pytest.raises(UserError, match=r"4 bits cannot be trained; set encoder\.lora"):
        train(tokens_path, tiny_encoder, tmp_path / "c", own={"quantization": "nf4"})
    assert not (tmp_path / "c").exists()


def test_decoder_is_refused(corpus_path, tiny_base, tmp_path):
    tokenize(corpus_path, config_of(tiny_base), TokenizeConfig(max_length=64), tmp_path / "t")
    with pytest.raises(UserError, match=r"\(llama\) is not an encoder"):
        train(tmp_path / "t", tiny_base, tmp_path / "c")


class Killed(BaseException):
    """Stands for kill -9 inside one process: nothing after it runs."""


@pytest.mark.parametrize("lora", [None, {"dropout": 0.1}], ids=["full", "lora"])
@pytest.mark.parametrize("step", [1, 6])
def test_resumed_training_ends_with_the_same_weights(
    tokens_path, tiny_encoder, tmp_path, monkeypatch, lora, step, own_cache
):
    train(tokens_path, tiny_encoder, tmp_path / "whole", lora)
    shutil.rmtree(own_cache / "training")
    plain = loop.Loop._step

    def killed_at(self, batches):
        if self.progress.step == step:
            raise Killed
        return plain(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_step", killed_at)
        with pytest.raises(Killed):
            train(tokens_path, tiny_encoder, tmp_path / "broken", lora, checkpoint_seconds=0)
    assert not (tmp_path / "broken").exists()
    train(tokens_path, tiny_encoder, tmp_path / "broken", lora, checkpoint_seconds=0)
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("lora", [None, {}], ids=["full", "lora"])
def test_other_seed_other_weights(tokens_path, tiny_encoder, tmp_path, lora):
    train(tokens_path, tiny_encoder, tmp_path / "a", lora, seed=1)
    train(tokens_path, tiny_encoder, tmp_path / "b", lora, seed=2)
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)], ids=["full", "lora"])
def test_head_learning_rate_is_that_of_the_fresh_layers(tokens_path, tiny_encoder, lora):
    settings = EncoderTrainingConfig(learning_rate=1e-5, head_learning_rate=1e-2)
    job = EncoderJob(tokens_path, config_of(tiny_encoder), lora, settings, 0)
    model = job.build()
    optimizer = make_optimizer(model, job.task(model).head, settings)
    fast = {id(p) for g in optimizer.param_groups if g["peak"] == 1e-2 for p in g["params"]}
    assert fast == {id(p) for p in model.head.values()}
    assert model.head.keys() == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize("lora", [None, {}], ids=["full", "lora"])
def test_bfloat16_trains_float32_weights(tokens_path, tiny_encoder, tmp_path, lora):
    classifier = train(tokens_path, tiny_encoder, tmp_path / "c", lora, own={"dtype": "bfloat16"})
    assert {t.dtype for t in weights_in(tmp_path / "c").values()} == {torch.float32}
    loaded = load_classifier(tmp_path / "c")
    logits = classifier.predict_logits(TEXTS)
    np.testing.assert_allclose(loaded.predict_logits(TEXTS), logits, atol=1e-6)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("lora", [None, {}], ids=["full", "lora"])
def test_bfloat16_that_the_processor_emulates(
    tokens_path, tiny_encoder, tmp_path, monkeypatch, lora
):
    for module in ("bfloat16", "base", "encoder"):
        name = f"llmclf_core.models.{module}.native_bfloat16"
        monkeypatch.setattr(name, lambda: False, raising=False)
    classifier = train(tokens_path, tiny_encoder, tmp_path / "c", lora, own={"dtype": "bfloat16"})
    logits = classifier.predict_logits(TEXTS)
    loaded = load_classifier(tmp_path / "c")
    np.testing.assert_allclose(loaded.predict_logits(TEXTS), logits, atol=1e-6)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_checkpointing": True, "accumulation": 2},
        {"loss": "focal", "class_weights": "balanced"},
        {"lora": {"top_layers": 1, "targets": ["query", "value"]}},
        {"lora": {}, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_options_train(tokens_path, tiny_encoder, tmp_path, options):
    classifier = train(tokens_path, tiny_encoder, tmp_path / "c", **options)
    assert np.isfinite(classifier.predict_logits(TEXTS)).all()
    assert classifier.cost["train_tokens_per_second"] > 0


def test_head_of_another_task_is_replaced(tokens_path, tiny_encoder, tmp_path):
    """A checkpoint that was fine-tuned already has a head of as many labels as its task had."""
    other = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=7)
    base = shutil.copytree(tiny_encoder, tmp_path / "base")
    other.save_pretrained(base)
    model = load_encoder(resolve(str(base)), config_of(base), LABELS, 0, frozen=True)
    assert model.head["classifier.weight"].shape == (3, 64)
    assert torch.equal(
        model.backbone.pooler.dense.weight, other.bert.pooler.dense.weight
    )  # kept: it fits
    assert "bert.pooler.dense.weight" not in model.head
    train(tokens_path, base, tmp_path / "c", {})
    loaded = load_classifier(tmp_path / "c")
    assert loaded.predict_logits(TEXTS).shape == (4, 3)


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory, tiny_encoder):
    """Counts positions from the pad id on: 65 of its table of 70 are for tokens."""
    path = tmp_path_factory.mktemp("roberta") / "r"
    shutil.copytree(tiny_encoder, path, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=70,
        pad_token_id=4,
        initializer_range=0.1,
    )
    RobertaForMaskedLM(config).save_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.mask_token
    assert tokenizer.pad_token_id == 4
    tokenizer.save_pretrained(path)
    return path


def test_positions_that_begin_after_the_pad_id(tiny_roberta, corpus_path, tmp_path):
    config = config_of(tiny_roberta)
    model = load_encoder(resolve(str(tiny_roberta)), config, LABELS, 4, frozen=False)
    assert most_tokens(model) == 65
    tokenize(corpus_path, config, TokenizeConfig(max_length=66), tmp_path / "long")
    with pytest.raises(UserError, match=r"max_length is 66, but .* has positions for 65 tokens"):
        train(tmp_path / "long", tiny_roberta, tmp_path / "c")
    tokenize(corpus_path, config, TokenizeConfig(max_length=65), tmp_path / "fits")
    classifier = train(tmp_path / "fits", tiny_roberta, tmp_path / "c")
    texts = ["match " * 500, "goal", ""]
    together = classifier.predict_logits(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(classifier.predict_logits([text])[0], row, atol=1e-5)


def test_pad_id_that_the_configuration_lacks(tiny_encoder, tmp_path):
    base = shutil.copytree(tiny_encoder, tmp_path / "base")
    config = (base / "config.json").read_text().replace('"pad_token_id": 0', '"pad_token_id": null')
    assert "null" in config
    (base / "config.json").write_text(config)
    model = load_encoder(resolve(str(base)), config_of(base), LABELS, 9, frozen=False)
    assert model.model.config.pad_token_id == 9


def test_special_tokens_of_the_tokenizer_are_kept(tiny_encoder):
    encoder = Encoder(tiny_encoder, TokenizeConfig(max_length=8))
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    for text in ("match", "", "match goal " * 20, "[SEP] [CLS] [PAD]"):
        ids = encoder.encode([text])[0].ids
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert not set(ids[1:-1]) & set(tokenizer.all_special_ids)
        assert len(ids) <= 8


@pytest.mark.assets
def test_minilm_learns_bbc_news(minilm, demo_assets, tmp_path):
    settings = {"validation": 0.1, "test": 0.2, "train_rows_per_label": 16}
    source = str(demo_assets["bbc"])
    ingest(
        IngestConfig(source=source, format="folder", bad_bytes="replace", split=settings),
        tmp_path / "corpus",
    )
    config = config_of(minilm)
    tokenize(tmp_path / "corpus", config, TokenizeConfig(max_length=48), tmp_path / "tokens")
    classifier = train(
        tmp_path / "tokens",
        minilm,
        tmp_path / "c",
        epochs=2,
        batch_size=8,
        learning_rate=2e-4,
        head_learning_rate=1e-2,
    )
    assert classifier.validation["best_validation_macro_f1"] > 0.8
    assert classifier.cost["trained_parameters"] > 22e6
    texts = ["The striker scored twice in the cup final.", "Shares fell as the bank cut its rates."]
    assert classifier.predict(texts) == [["sports"], ["business"]]
    loaded = load_classifier(tmp_path / "c")
    np.testing.assert_allclose(
        loaded.predict_logits(texts), classifier.predict_logits(texts), atol=1e-5
    )
