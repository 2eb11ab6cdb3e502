"""Rows behind a prefix that is read once have the losses and gradients of whole rows."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    NemotronConfig,
    Qwen2Config,
    Qwen3Config,
)

from llmclf_core.config import BaseModelConfig, InstructConfig, LoraConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import resolve
from llmclf_core.models.causal import load_causal, plain_attention
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.plain_scoring import answer_losses
from llmclf_core.models.shared_prefix import SharedPrefix, shared_prefix
from llmclf_core.tokens.instruct import InstructEncoder

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # so that positions, neighbours and order all count
    "pad_token_id": 2,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
NO_DROPOUT = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
GPT2 = GPT2Config(
    vocab_size=100, n_positions=128, n_embd=32, n_layer=3, n_head=4, initializer_range=0.2,
    **NO_DROPOUT,
)  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "gpt2": GPT2,
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=False),
    "qwen3": Qwen3Config(**SMALL, head_dim=8),
    "gemma": GemmaConfig(**SMALL, head_dim=8),
}
WINDOWED = {
    "mistral": MistralConfig(**SMALL, sliding_window=5),
    "gemma3": Gemma3TextConfig(**SMALL, head_dim=8, sliding_window=5),
}
PREFIX = [1, 50, 51, 52, 50, 53, 54]
BATCHES = {
    "rows of different lengths": (
        [[60, 61, 62, 63, 64, 65, 66, 67], [70], [80, 81, 82], [90, 91]],
        [[10, 2], [11, 12, 13, 2], [14, 2], [10, 11, 2]],
    ),
    "rows of one length": ([[60, 61], [70, 71]], [[10, 2], [11, 2]]),
    "one row": ([[60, 61, 62]], [[10, 11, 2]]),
    "one token before one token": ([[60], [61]], [[10], [11]]),
}
PREFIXES = {"a prefix": PREFIX, "a prefix of one token": [1]}


def made(config, dtype=torch.float32):
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config, dtype=dtype)


@contextmanager
def plainly(model, prefix):
    """Losses of whole rows."""
    yield lambda contexts, answers: answer_losses(
        model, [[*prefix, *context] for context in contexts], answers, 2
    )


@contextmanager
def shared(model, prefix):
    """Losses of rows whose prefix is read once."""
    with shared_prefix(model, prefix) as found:
        assert found is not None
        yield lambda contexts, answers: found.answer_losses(model, contexts, answers)


def losses(way, model, prefix, contexts, answers):
    with way(model, prefix) as compute, torch.no_grad():
        return compute(contexts, answers)


def outcome(way, model, prefix, contexts, answers):
    """Losses and the gradient of every parameter that trains."""
    model.zero_grad()
    with way(model, prefix) as compute:
        found = compute(contexts, answers)
        found.sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    assert gradients
    return found.detach(), gradients


def assert_same(found, expected, tolerance=1e-4):
    """Relative to the largest number of each tensor."""
    pairs = {"losses": (found[0], expected[0])}
    pairs |= {name: (found[1][name], gradient) for name, gradient in expected[1].items()}
    for name, (ours, plain) in pairs.items():
        assert plain.abs().max() > 0, name
        assert ours.shape == plain.shape, name
        assert (ours - plain).abs().max() <= tolerance * plain.abs().max(), name


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_every_gradient(name, prefix, batch):
    model = made(CONFIGS[name]).train()
    same = [outcome(way, model, prefix, *batch) for way in (shared, plainly)]
    assert_same(*same)


def test_only_rounding_differs():
    model = made(GPT2, torch.float64)
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):  # losses are float32 else
        same = [
            outcome(way, model, PREFIX, *BATCHES["rows of different lengths"])
            for way in (shared, plainly)
        ]
    assert same[0][0].dtype == torch.float64
    assert_same(*same, tolerance=1e-11)


def adapted(model, size=0.1, **options):
    model.requires_grad_(False)
    model = add_adapter(model, LoraConfig(**{"rank": 4, "dropout": 0.0} | options), "base")
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=size)
    return model


@pytest.mark.parametrize("options", [{}, {"top_layers": 1}], ids=str)
@pytest.mark.parametrize("again", [False, True], ids=["kept", "checkpointing"])
def test_an_adapter(options, again):
    base = made(CONFIGS["llama"])
    if again:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = adapted(base, **options).train()
    for batch in BATCHES.values():
        assert_same(*(outcome(way, model, PREFIX, *batch) for way in (shared, plainly)))


def test_dropout_of_the_adapter_is_the_same_on_average():
    model = adapted(made(CONFIGS["llama"]), dropout=0.2).train()
    means, errors = [], []
    for way in (shared, plainly):
        with way(model, PREFIX) as compute, torch.no_grad():
            draws = [compute(*BATCHES["rows of one length"]).sum() for _ in range(200)]
        means.append(torch.stack(draws).mean())
        errors.append(torch.stack(draws).std() / len(draws) ** 0.5)
    assert all(errors)
    assert (means[0] - means[1]).abs() < 4 * torch.stack(errors).norm()


@contextmanager
def counting(model):
    """Token positions that each decoder layer and the output embedding were given."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    counts = []
    hooks = [
        module.register_forward_hook(lambda m, args, out: counts.append(args[0].shape[:-1].numel()))
        for module in (*base.model.layers, base.lm_head)
    ]
    yield counts
    for hook in hooks:
        hook.remove()


def test_tokens_are_read_once_and_logits_only_where_the_loss_is():
    model = adapted(made(CONFIGS["llama"]))
    contexts, answers = BATCHES["rows of different lengths"]
    own = sum(map(len, contexts)) + sum(map(len, answers))
    with shared(model, PREFIX) as compute, counting(model) as counts:
        compute(contexts, answers)
    assert counts == [len(PREFIX) + own] * 3 + [sum(map(len, answers))]


def test_rows_do_not_see_each_other():
    model = made(CONFIGS["llama"]).eval()
    contexts, answers = BATCHES["rows of different lengths"]
    before = losses(shared, model, PREFIX, contexts, answers)
    others = [contexts[0], [99, 98], *contexts[2:]]
    after = losses(shared, model, PREFIX, others, answers)
    torch.testing.assert_close(after[[0, 2, 3]], before[[0, 2, 3]], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(after[1], before[1])


def test_other_input_is_read_as_ever():
    model = made(CONFIGS["llama"]).eval()
    batch = (PREFIX, *BATCHES["rows of different lengths"])
    expected = losses(plainly, model, *batch)
    with shared_prefix(model, PREFIX) as found:
        assert found is not None
        assert plain_attention(model)
        torch.testing.assert_close(losses(plainly, model, *batch), expected)
    assert model.config._attn_implementation == "sdpa"


HINDERED = {
    "window": (WINDOWED["mistral"], PREFIX, {}, "depends on more than a mask"),
    "windows here and there": (WINDOWED["gemma3"], PREFIX, {}, "depends on more than a mask"),
    "no way to tell its attention": (NemotronConfig(**SMALL), PREFIX, {}, "does not take it apart"),
    "eager": (CONFIGS["llama"], PREFIX, {"attn_implementation": "eager"}, "is not sdpa"),
    "no prefix": (CONFIGS["llama"], [], {}, "nothing stands before the text"),
}


@pytest.mark.parametrize("case", HINDERED.values(), ids=HINDERED)
def test_what_needs_whole_rows_gets_them(case, caplog):
    config, prefix, options, reason = case
    model = AutoModelForCausalLM.from_config(config, **options).train()
    attention = model.config._attn_implementation
    caplog.set_level("INFO")
    with shared_prefix(model, prefix) as found:
        assert found is None
        assert model.config._attn_implementation == attention
        assert model.training
    (record,) = [r for r in caplog.records if r.name == "llmclf_core.models.shared_prefix"]
    assert reason in record.getMessage()


@pytest.mark.parametrize("name", WINDOWED)
def test_what_would_be_wrong_is_noticed(name, caplog):
    """A window that the model's configuration does not tell of."""
    caplog.set_level("INFO")
    model = made(WINDOWED[name])
    unknown = mock.patch("llmclf_core.models.shared_prefix.plain_attention", return_value=True)
    with unknown, shared_prefix(model, PREFIX) as found:
        assert found is None
    assert "reads rows otherwise" in caplog.text


def test_a_model_that_takes_no_layout_fails_loudly():
    model = made(CONFIGS["llama"])
    with pytest.raises(RuntimeError, match="size"):
        SharedPrefix(PREFIX).answer_losses(model, *BATCHES["rows of different lengths"])


TEXTS = ["Shares fell sharply after the bank warned of lower profits.", "They won the cup.", ""]


@pytest.mark.assets
def test_real_weights_and_a_long_list_of_labels(smollm2):
    base = resolve(str(smollm2))
    names = tuple(f"section {i}" for i in range(20))
    encoder = InstructEncoder.of(
        base.directory, TokenizeConfig(), InstructConfig(), LabelSpace(names, "single")
    )
    config = BaseModelConfig(source=str(smollm2), dtype="float32")
    model = adapted(load_causal(base, config, torch.float32), 0.01).train()
    contexts = [[*e.ids, *encoder.suffix] for e in encoder.encode(TEXTS)]
    answers = [encoder.answers.write([i]) for i in (0, 13, 19)]
    assert len(encoder.prefix) > 80
    batch = (encoder.prefix, contexts, answers)
    assert_same(*(outcome(way, model, *batch) for way in (shared, plainly)))
