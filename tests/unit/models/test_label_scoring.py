"""Scores of options equal those of each option read alone, whatever the trick."""

from __future__ import annotations

import itertools
import math
from unittest import mock

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from llmclf_core.config import BaseModelConfig, LoraConfig
from llmclf_core.models import label_scoring
from llmclf_core.models.base import resolve
from llmclf_core.models.causal import load_causal, plain_attention
from llmclf_core.models.label_reading import NEGLIGIBLE, LikelyReading
from llmclf_core.models.label_scoring import TreeScorer, make_scorer
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.plain_scoring import PlainScorer
from llmclf_core.models.trie import log_totals

SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,  # so that positions, neighbours and order all count
    "pad_token_id": 2,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
END = 2


def llama(tiny_base):
    base = resolve(str(tiny_base))
    torch.manual_seed(3)
    model = load_causal(base, BaseModelConfig(source=str(tiny_base)), torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
    adapted = add_adapter(model, LoraConfig(rank=4), str(tiny_base))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return adapted.eval()


def gpt2(tiny_base):
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=400, n_positions=256, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
    )
    return GPT2LMHeadModel(config).eval()


def made(config_class, model_class, **changes):
    def make(tiny_base):
        torch.manual_seed(2)
        return model_class(config_class(**SIZES | changes)).eval()

    return make


PLAIN = {
    "llama with an adapter": llama,
    "gpt2": gpt2,
    "qwen2, untied": made(Qwen2Config, Qwen2ForCausalLM, tie_word_embeddings=False),
    "qwen3, eager": made(Qwen3Config, Qwen3ForCausalLM, head_dim=8, attn_implementation="eager"),
}
WINDOWED = {
    "mistral": made(MistralConfig, MistralForCausalLM, sliding_window=5),
    "gemma3": made(Gemma3TextConfig, Gemma3ForCausalLM, head_dim=8, sliding_window=5),
}

OPTIONS = {
    "one token": [[10, END], [11, END], [12, END]],
    "one token, no end": [[10], [11], [12]],
    "several tokens": [[10, 11, 12, END], [13, 14, END], [15, 10, 11, 12, 13, END]],
    "shared beginnings": [[10, END], [10, 11, END], [10, 11, 12, END], [10, 12, END], [13, END]],
    "one only": [[10, 11, END]],
}
MANY = [[*(10 + (i * k) % 7 for k in range(1, 2 + i % 4)), 20 + i, END] for i in range(40)]
PREFIX = [1, 50, 51, 52]
CONTEXTS = [[60, 61, 62, 63, 64, 65, 66, 67], [70], [80, 81, 82], [90, 91]]


def brute_force(model, contexts, options):
    """One option at a time, no batch, no padding, no cache, no choice of positions."""
    scores = torch.zeros(len(contexts), len(options), dtype=torch.float64)
    for i, j in itertools.product(range(len(contexts)), range(len(options))):
        row = torch.tensor([[*contexts[i], *options[j]]])
        log_p = model(input_ids=row, use_cache=False).logits[0].double().log_softmax(-1)
        for k, token in enumerate(options[j]):
            scores[i, j] += log_p[len(contexts[i]) + k - 1, token]
    return scores


def after(model, options, rows, states):
    """By brute force: every option that may come after others, -inf for the rest."""
    begun = [
        [*PREFIX, *CONTEXTS[i], *(token for o in state for token in options[o])]
        for i, state in zip(rows, states, strict=True)
    ]
    scores = brute_force(model, begun, options)
    for row, state in zip(scores, states, strict=True):
        row[: state[-1] + 1 if state else 0] = -torch.inf
    return scores


def logits_of(model, contexts):
    """At the contexts' last tokens."""
    rows = [torch.tensor([[*PREFIX, *context]]) for context in contexts]
    return torch.cat([model(input_ids=row, use_cache=False).logits[:, -1] for row in rows])


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


@pytest.fixture(params=PLAIN)
def model(request, tiny_base):
    return PLAIN[request.param](tiny_base)


@torch.inference_mode()
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cache", [True, False], ids=["cache", "no cache"])
def test_one_pass_over_the_tree_is_one_pass_an_option(model, options, side, cache):
    assert plain_attention(model)
    expected = brute_force(model, [[*PREFIX, *c] for c in CONTEXTS], options)
    assert expected.std(0).min() > 0.05  # contexts matter, else anything would pass
    scorer = TreeScorer(model, options, PREFIX, END, side, cache)
    close(scorer.score(CONTEXTS), expected)
    for context, row in zip(CONTEXTS, expected, strict=True):
        close(scorer.score([context]), row.unsqueeze(0))


@torch.inference_mode()
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_plain_way_is_one_pass_an_option(model, options):
    expected = brute_force(model, [[*PREFIX, *c] for c in CONTEXTS], options)
    close(PlainScorer(model, options, PREFIX, END).score(CONTEXTS), expected)


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cache", [True, False, None], ids=["cache", "no cache", "plain"])
def test_options_after_what_was_written(model, side, cache):
    options = OPTIONS["shared beginnings"]
    scorer = (
        PlainScorer(model, options, PREFIX, END)
        if cache is None
        else TreeScorer(model, options, PREFIX, END, side, cache)
    )
    reading = scorer.read(CONTEXTS)
    for rows, states in (
        ([0, 1, 2, 3], [(), (), (), ()]),
        ([2, 0, 2], [(0,), (), (1, 2)]),  # (1,) was not asked for before
        ([1], [(0, 1, 3)]),
    ):
        found, expected = reading.score(rows, states), after(model, options, rows, states)
        likely = expected > expected.max(1, keepdim=True).values + math.log(NEGLIGIBLE)
        close(found[likely], expected[likely])


@torch.inference_mode()
@pytest.mark.parametrize("options", [*OPTIONS.values(), MANY], ids=[*OPTIONS, "many"])
def test_nothing_that_matters_goes_unread(model, options):
    """Every likelihood exact where none is negligible; else bounds that no sum can tell."""
    scorer = TreeScorer(model, options, PREFIX, END)
    read, last = scorer.read(CONTEXTS), len(options) - 1
    logits = logits_of(model, CONTEXTS)
    whole = LikelyReading(scorer.reader, options, scorer.whole, read.past, logits, 0)
    rows, states = [3, 0, 1, 0], [(), (0,) if last else (), (), tuple(range(last))]
    expected = after(model, options, rows, states)
    behind = expected.isfinite()
    close(whole.score(rows, states)[behind], expected[behind])
    found = read.score(rows, states).double()
    differs = (found - expected).abs() > 1e-4
    best = expected.max(1, keepdim=True).values
    assert (found[differs & behind] > expected[differs & behind]).all()
    assert ((found - best).exp() * (differs & behind)).sum(1).max() <= NEGLIGIBLE


@torch.inference_mode()
def test_only_what_matters_is_read(model):
    scorer = TreeScorer(model, MANY, PREFIX, END)
    reading = scorer.read(CONTEXTS)
    fed = fed_by(lambda: reading.score([0, 1, 2, 3], [()] * 4))
    assert 0 < fed < sum(map(len, MANY)) * len(CONTEXTS) * 0.75
    likely = reading.score([0], [()])[0, :-1].argmax().item()
    assert fed_by(lambda: reading.score([0], [()])) > 0  # its first tokens alone are remembered
    again = fed_by(lambda: reading.score([0], [(likely,)]))
    unread = fed_by(lambda: reading.score([0], [(0, 1, 2)]))
    assert again < unread  # which has to read what was written first


def fed_by(action):
    """How many tokens the model is given."""
    fed = []
    forward = torch.nn.Embedding.forward

    def spy(self, ids):
        if self.num_embeddings == SIZES["vocab_size"]:  # and not of positions
            fed.append(ids.numel())
        return forward(self, ids)

    with mock.patch.object(torch.nn.Embedding, "forward", spy):
        action()
    return sum(fed)


@torch.inference_mode()
def test_contexts_of_one_token_and_no_prefix(model):
    options, contexts = OPTIONS["several tokens"], [[70], [71]]
    expected = brute_force(model, contexts, options)
    scorer = TreeScorer(model, options, [], END)
    close(scorer.score(contexts), expected)
    close(scorer.read(contexts).score([0, 1], [(), ()]), expected)


@torch.inference_mode()
def test_what_was_read_is_never_modified(model):
    scorer = TreeScorer(model, OPTIONS["several tokens"], PREFIX, END)
    reading = scorer.read(CONTEXTS)
    pasts = [scorer.past, reading.past]
    before = [[t.clone() for layer in past.layers for t in layer] for past in pasts]
    scorer.score(CONTEXTS)
    reading.score([0, 0, 3], [(), (0, 1), (0,)])
    for past, copies in zip(pasts, before, strict=True):
        mine = [t for layer in past.layers for t in layer]
        assert all(torch.equal(a, b) for a, b in zip(mine, copies, strict=True))


@torch.inference_mode()
def test_the_prefix_is_read_once(model):
    scorer = TreeScorer(model, OPTIONS["several tokens"], PREFIX, END)
    fed = []
    forward = torch.nn.Embedding.forward

    def spy(self, ids):
        fed.extend(ids.flatten().tolist())
        return forward(self, ids)

    with mock.patch.object(torch.nn.Embedding, "forward", spy):
        scorer.score(CONTEXTS)
    assert 60 in fed
    assert 50 not in fed


@torch.inference_mode()
@pytest.mark.parametrize("name", WINDOWED)
def test_a_sliding_window_is_scored_the_plain_way(name, tiny_base):
    model = WINDOWED[name](tiny_base)
    assert not plain_attention(model)
    options = OPTIONS["shared beginnings"]
    scorer = make_scorer(model, options, PREFIX, END)
    expected = brute_force(model, [[*PREFIX, *c] for c in CONTEXTS], options)
    close(scorer.score(CONTEXTS), expected)
    close(scorer.read(CONTEXTS).score([0, 1, 2, 3], [()] * 4), expected)
    with pytest.raises(AssertionError):  # a tree would be wrong here
        close(TreeScorer(model, options, PREFIX, END).score(CONTEXTS), expected)


def test_many_options_make_small_batches(tiny_base, monkeypatch):
    model = gpt2(tiny_base)
    monkeypatch.setattr(label_scoring, "_LOGITS", 400 * 5 * 5)
    with torch.inference_mode():
        assert TreeScorer(model, [[10, 11, END], [12]], [], END).rows == 5
        assert TreeScorer(model, [[i, END] for i in range(10, 90)], [], END).rows == 1


@torch.inference_mode()
def test_words_that_begin_alike(tiny_base):
    """cat, cat food, category: as a tokenizer writes them."""
    model, tokenizer = llama(tiny_base), AutoTokenizer.from_pretrained(tiny_base)
    words = ["cat", "cat food", "category", "ca"]
    options = [[*tokenizer(w, add_special_tokens=False)["input_ids"], END] for w in words]
    assert options[1][: len(options[0]) - 1] == options[0][:-1]
    expected = brute_force(model, [[*PREFIX, *c] for c in CONTEXTS], options)
    close(TreeScorer(model, options, PREFIX, END).score(CONTEXTS), expected)


@pytest.mark.parametrize("masked", [-torch.inf, torch.finfo(torch.float32).min, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_totals_over_the_vocabulary(dtype, masked):
    logits = torch.randn(3, 7, 300).mul_(4).to(dtype)
    logits[0, 0, 0] = logits[1, 2, 5] = masked
    wanted = logits.float().logsumexp(-1)
    torch.testing.assert_close(log_totals(logits), wanted, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(log_totals(logits[0, 0]), wanted[0, 0], rtol=1e-6, atol=1e-5)
