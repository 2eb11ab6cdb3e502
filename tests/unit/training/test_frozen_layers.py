"""Frozen layers that are computed once give what computing them every time gives."""

import shutil
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import TRAIN
from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.errors import UserError
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.paths import cache_dir
from llmclf_core.steps import frozen
from llmclf_core.steps.finetune_encoder import finetune_encoder
from llmclf_core.steps.finetune_head import HeadJob, finetune_head
from llmclf_core.steps.finetune_instruct import InstructJob
from llmclf_core.steps.frozen import Frozen, Pass, frozen_layers
from llmclf_core.tokens.tokenize import tokenize
from llmclf_core.training.loop import Loop

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WINDOW = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
MODELS = {
    "llama": LlamaConfig(**SMALL),
    "mistral": MistralConfig(**SMALL, sliding_window=4),
    "qwen2": Qwen2Config(**SMALL, use_sliding_window=True, max_window_layers=2, sliding_window=4),
    "qwen3": Qwen3Config(**SMALL, head_dim=8),
    "gemma3": Gemma3TextConfig(**SMALL, head_dim=8, **WINDOW),
    "gpt2": GPT2Config(
        vocab_size=50, n_embd=32, n_layer=4, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    ),
}
TEXTS = [[int(t) for t in np.random.default_rng(i).integers(1, 50, 3 + 2 * i)] for i in range(9)]
TOP = LoraConfig(rank=4, top_layers=2)
CACHE = TrainingConfig(frozen_layers="cache")


class BrokenError(Exception):
    """As if the process were killed here."""


def adapted(config, lora=TOP):
    torch.manual_seed(0)
    model = add_adapter(AutoModel.from_config(config).requires_grad_(False), lora, "base")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def way(model):
    head = ClassificationHead(32, 2, HeadConfig(pooling="mean"))  # all tokens are compared
    return Pass(model, HeadModel(model, head).hidden_states, pad_id=0)


@pytest.mark.parametrize("name", MODELS)
def test_any_architecture_gives_the_same(name):
    model = adapted(MODELS[name]).eval()
    path, rows = way(model), np.array([7, 0, 3])
    with torch.no_grad():
        plain = path.over([TEXTS[i] for i in rows])
    with frozen_layers(path, CACHE, [name], {TRAIN: TEXTS}) as found:
        assert found.lower.count == 2
        with torch.no_grad(), found.given(TRAIN, rows):
            ours = path.over([TEXTS[i] for i in rows])
    for i, row in enumerate(rows):
        length = len(TEXTS[row])
        torch.testing.assert_close(ours[i, :length], plain[i, :length], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        again = path.over([TEXTS[i] for i in rows])
    assert torch.equal(again, plain), "the layers are back"


@pytest.fixture(scope="module")
def head_tokens(tmp_path_factory, corpus_path, tiny_base):
    path = tmp_path_factory.mktemp("frozen") / "tokens"
    tokenize(corpus_path, BaseModelConfig(source=str(tiny_base)), TokenizeConfig(), path)
    return path


def head_arguments(tokens, base, head=None, **training):
    training = {"epochs": 2, "batch_size": 12, "learning_rate": 5e-3} | training
    base = BaseModelConfig(source=str(base), dtype="float32")
    head = HeadConfig(**{"pooling": "mean"} | (head or {}))
    return tokens, base, TOP, head, TrainingConfig(**training)


def losses_and_gradients(job):
    torch.manual_seed(0)
    model = job.build()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    found = []
    with job.shortcut(model) as job.frozen:
        task = job.task(model)
        for rows in (np.array([0, 5, 9]), np.array([40, 2])):
            model.eval()
            loss = task.loss(model, rows)
            loss.backward()
            found.append(loss.detach())
        metrics, logits = task.validate()
    used = job.frozen.lower is not None
    job.frozen = Frozen()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return used, torch.stack(found), gradients, logits, metrics


def assert_same(plain, fast):
    assert (plain[0], fast[0]) == (False, True)
    torch.testing.assert_close(fast[1], plain[1], rtol=1e-4, atol=0)
    assert plain[2]
    assert plain[2].keys() == fast[2].keys()
    for name, gradient in plain[2].items():
        scale = gradient.abs().max()
        assert (fast[2][name] - gradient).abs().max() <= 1e-4 * scale, name
    np.testing.assert_allclose(fast[3], plain[3], rtol=1e-4, atol=1e-5)
    assert fast[4] == pytest.approx(plain[4], rel=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}], ids=["plain", "again"])
def test_head_losses_and_gradients(head_tokens, tiny_base, options, pooling):
    head = {"pooling": pooling}
    jobs = [
        HeadJob(*head_arguments(head_tokens, tiny_base, head, frozen_layers=how, **options), 0)
        for how in ("compute", "cache")
    ]
    assert jobs[0].state == jobs[1].state, "the same training"
    assert_same(*map(losses_and_gradients, jobs))


def test_head_from_frozen_embeddings(head_tokens, tiny_base):
    jobs = [
        HeadJob(*head_arguments(head_tokens, tiny_base, {"init": "frozen"}, frozen_layers=how), 0)
        for how in ("compute", "cache")
    ]
    found = []
    for job in jobs:
        model = job.build()
        with job.shortcut(model) as job.frozen:
            job.task(model)
        found.append(model.head.out.weight.detach())
        for file in job.state.glob("embeddings-*"):
            file.unlink()
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)


def instruct_jobs(corpus, base, path):
    """One that computes every layer, and one that reads what the frozen ones give."""
    base = BaseModelConfig(source=str(base), dtype="float32")
    settings = InstructConfig(prompt="{labels}\n{text}")
    tokenize(corpus, base, TokenizeConfig(max_length=200), path, settings)
    return [
        InstructJob(path, base, TOP, settings, TrainingConfig(frozen_layers=how), 0)
        for how in ("compute", "cache")
    ]


@pytest.mark.parametrize("task", ["single", "multi"])
def test_instruct_losses_and_gradients(task, tmp_path, corpus_path, multi_corpus_path, tiny_base):
    corpus = corpus_path if task == "single" else multi_corpus_path
    jobs = instruct_jobs(corpus, tiny_base, tmp_path / "tokens")
    assert_same(*map(losses_and_gradients, jobs))
    assert all(job.shared is not None for job in jobs)


def test_instruct_that_reads_whole_rows(tmp_path, corpus_path, tiny_base, caplog):
    caplog.set_level("INFO")
    windowed = tmp_path / "windowed"
    shutil.copytree(tiny_base, windowed)
    config = AutoConfig.from_pretrained(tiny_base).to_dict()
    config = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MistralConfig(**config | {"sliding_window": 8}))
    model.save_pretrained(windowed)
    jobs = instruct_jobs(corpus_path, windowed, tmp_path / "tokens")
    assert_same(*map(losses_and_gradients, jobs))
    assert all(job.shared is None for job in jobs)
    assert "begins with the whole prompt" in caplog.text


def test_a_shared_prompt_is_cached_once(tmp_path, corpus_path, tiny_base):
    """The rows' own tokens are on disk, behind a prefix that all of them have."""
    _, job = instruct_jobs(corpus_path, tiny_base, tmp_path / "tokens")
    with job.shortcut(job.build()) as found:
        prefix = len(job.encoder.prefix)
        assert found.prefix.shape == (prefix, 64)
        rows = np.arange(len(job.train_rows))
        own = [len(states) for states in found.states[TRAIN].texts(rows)]
    assert own == (job._lengths() - prefix).tolist()
    assert prefix > 1


def test_another_seed_reads_what_the_first_computed(head_tokens, tiny_base, tmp_path, monkeypatch):
    arguments = head_arguments(head_tokens, tiny_base, epochs=1, frozen_layers="cache")
    spent = []
    monkeypatch.setattr(frozen, "_fill", watched(frozen._fill, spent))
    for seed in (0, 1):
        finetune_head(*arguments, tmp_path / str(seed), seed)
    assert spent == [1, 1, 0, 0], "files: training and validation rows, seed by seed"


def watched(fill, spent):
    def watching(path, lower, states, rows):
        spent.append(len(states.missing()))
        fill(path, lower, states, rows)

    return watching


def test_a_training_is_charged_for_what_another_computed(head_tokens, tiny_base):
    charged = []
    for seed in (0, 1):
        arguments = head_arguments(head_tokens, tiny_base, frozen_layers="cache")
        job = HeadJob(*arguments[:2], LoraConfig(rank=2, top_layers=3), *arguments[3:], seed)
        with job.shortcut(job.build()) as found:
            charged.append(found.seconds)
    assert charged[0] == 0 < charged[1]


def test_the_classifier_computes_all_layers_again(head_tokens, tiny_base, tmp_path):
    texts = ["one text", "another, somewhat longer text of another kind"]
    trained = finetune_head(*head_arguments(head_tokens, tiny_base), tmp_path / "head")
    plain = finetune_head(
        *head_arguments(head_tokens, tiny_base, frozen_layers="compute", schedule="linear"),
        tmp_path / "plain",
    )
    assert trained.predict_proba(texts).shape == plain.predict_proba(texts).shape
    loaded = load_classifier(tmp_path / "head")
    np.testing.assert_allclose(loaded.predict_proba(texts), trained.predict_proba(texts), atol=1e-6)


def test_a_broken_training_ends_with_the_same_weights(head_tokens, tiny_base, tmp_path):
    arguments = head_arguments(head_tokens, tiny_base, checkpoint_seconds=0)
    finetune_head(*arguments, tmp_path / "whole")
    shutil.rmtree(cache_dir() / "training")
    broken = mock.patch.object(Loop, "_apply_gradient", broken_at(5, Loop._apply_gradient))
    with broken, pytest.raises(BrokenError):
        finetune_head(*arguments, tmp_path / "broken")
    finetune_head(*arguments, tmp_path / "broken")
    for file in ("adapter/adapter_model.safetensors", "head.safetensors"):
        whole, broken = (load_file(tmp_path / d / file) for d in ("whole", "broken"))
        assert all(torch.equal(whole[name], broken[name]) for name in whole)


def broken_at(step, apply):
    def applied(loop):
        if loop.progress.step == step:
            raise BrokenError
        apply(loop)

    return applied


class Echo:
    """Makes the last layer add what the first one gave: nothing that lies in between says so."""

    def __init__(self, layers):
        self.heard = None
        layers[0].register_forward_hook(self.hear)
        layers[-1].register_forward_hook(self.add)

    def hear(self, module, inputs, output):
        self.heard = output

    def add(self, module, inputs, output):
        heard, self.heard = self.heard, None
        return output if heard is None else output + heard


def refusal(model, share=CACHE):
    with pytest.raises(UserError) as error, frozen_layers(way(model), share, ["x"], {TRAIN: TEXTS}):
        pass
    return str(error.value)


def test_what_cannot_be_cached_is_refused(monkeypatch):
    llama = MODELS["llama"]
    assert "set lora.top_layers" in refusal(adapted(llama, LoraConfig(rank=4)))
    assert "has dropout" in refusal(
        adapted(GPT2Config(vocab_size=50, n_embd=32, n_layer=4, n_head=4))
    )
    attention = LlamaConfig(**SMALL, attention_dropout=0.1)
    assert "has dropout" in refusal(adapted(attention))
    echoing = adapted(llama)
    Echo(echoing.get_base_model().layers)
    assert "read more than" in refusal(echoing)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: mock.Mock(free=1000))
    assert "LLMCLF_CACHE" in refusal(adapted(llama))


def test_auto_computes_what_it_cannot_cache(caplog):
    caplog.set_level("INFO")
    model = adapted(MODELS["llama"], LoraConfig(rank=4))
    with frozen_layers(way(model), TrainingConfig(), ["x"], {TRAIN: TEXTS}) as found:
        assert found == Frozen()
    assert "set lora.top_layers" in caplog.text
    once = adapted(MODELS["llama"])
    with frozen_layers(way(once), TrainingConfig(epochs=1), ["x"], {TRAIN: TEXTS}) as found:
        assert found == Frozen()


def test_no_pass_goes_on_without_its_states():
    model = adapted(MODELS["llama"]).eval()
    with frozen_layers(way(model), CACHE, ["y"], {TRAIN: TEXTS}), pytest.raises(RuntimeError):
        way(model).over(TEXTS)


def test_an_encoder_has_none(tmp_path, corpus_path, tiny_encoder):
    base = BaseModelConfig(source=str(tiny_encoder))
    tokenize(corpus_path, base, TokenizeConfig(max_length=64), tmp_path / "tokens")
    with pytest.raises(UserError, match=r"encoder\.training\.frozen_layers"):
        finetune_encoder(tmp_path / "tokens", base, None, CACHE, tmp_path / "encoder")


def test_what_another_version_has_computed_is_not_read(monkeypatch):
    """It rounds otherwise, and in bfloat16 that looks like another model."""
    path, name = way(adapted(MODELS["llama"]).eval()), "versions"
    with frozen_layers(path, CACHE, [name], {TRAIN: TEXTS}) as found:
        before = found.states[TRAIN]._directory
    with frozen_layers(path, CACHE, [name], {TRAIN: TEXTS}) as found:
        assert found.states[TRAIN]._directory == before
    monkeypatch.setattr(frozen, "_computed_by", lambda: ["another"])
    with frozen_layers(path, CACHE, [name], {TRAIN: TEXTS}) as found:
        assert found.states[TRAIN]._directory != before


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("torch.__version__", "0.1"),
        ("transformers.__version__", "0.1"),
        ("llmclf_core.steps.frozen.file_sha256", lambda path: "changed"),
        ("llmclf_core.steps.frozen.native_bfloat16", lambda: "emulated"),
        ("torch.backends.cpu.get_cpu_capability", lambda: "NONE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_code_and_another_processor_are_another_version(monkeypatch, where, what):
    before = frozen._computed_by.__wrapped__()
    monkeypatch.setattr(where, what)
    assert frozen._computed_by.__wrapped__() != before
