"""Attention by blocks is sdpa's: results, gradients, and what it leaves to sdpa."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from llmclf_core.config import BaseModelConfig
from llmclf_core.models import attention
from llmclf_core.models.attention import BLOCKED, attend, causal_attention, masked_attention
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.causal import load_causal
from llmclf_core.models.label_scoring import make_scorer


def made(batch, heads, key_heads, queries, keys, dtype=torch.float32):
    torch.manual_seed(0)
    sizes = [(heads, queries), (key_heads, keys), (key_heads, keys)]
    # As a model has them: positions before heads, and turned.
    states = [torch.randn(batch, n, h, 16, dtype=dtype).transpose(1, 2) for h, n in sizes]
    return [s.requires_grad_() for s in states], torch.randn(batch, queries, heads, 16, dtype=dtype)


def plain(query, key, value, scaling):
    """Every weight is computed, and those that look ahead are zero."""
    queries, keys = query.shape[2], key.shape[2]
    sees = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    result = scaled_dot_product_attention(query, key, value, sees, scale=scaling)
    return result.transpose(1, 2)


@pytest.mark.parametrize("kept", [0, 1024], ids=["again", "kept"])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("length", [(2, 2), (64, 64), (150, 150), (1, 9), (70, 133)])
def test_results_and_gradients_are_those_of_sdpa(monkeypatch, length, heads, kept):
    monkeypatch.setattr(attention, "_KEPT", kept)
    states, grad = made(3, *heads, *length)
    ours, theirs = (f(*states, 0.3) for f in (causal_attention, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    pairs = zip(*(torch.autograd.grad(r, states, grad) for r in (ours, theirs)), strict=True)
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_as_near_to_float32_as_it_can_be(monkeypatch, native):
    monkeypatch.setattr("llmclf_core.models.bfloat16.native_bfloat16", lambda: native)
    states, grad = made(2, 6, 2, 150, 150)
    rounded = [s.detach().bfloat16().requires_grad_() for s in states]
    wanted = plain(*states, 0.25)
    found = causal_attention(*rounded, 0.25)
    assert found.dtype == torch.bfloat16
    assert distance(found, wanted) < 0.01
    grads = torch.autograd.grad(found, rounded, grad.bfloat16())
    for ours, theirs in zip(grads, torch.autograd.grad(wanted, states, grad), strict=True):
        assert ours.dtype == torch.bfloat16
        assert distance(ours, theirs) < 0.015


def mask_of(sees, dtype=torch.float32):
    return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)


def some_mask(batch, queries, keys):
    """Anything may be seen, and each query sees itself."""
    sees = torch.rand(batch, 1, queries, keys) < 0.5
    sees |= torch.eye(queries, keys, dtype=torch.bool)
    sees[:, :, :, keys - 7 :] = False  # which nobody sees
    return sees


@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize(
    ("length", "rows"), [((2, 9), 3), ((150, 157), 3), ((1, 9), 3), ((70, 133), 1)]
)
@torch.no_grad()
def test_through_a_mask_results_are_those_of_sdpa(length, rows, heads):
    states, _ = made(3, *heads, *length)
    sees = some_mask(rows, *length)
    query, key, value = states
    key, value = (x.repeat_interleave(heads[0] // heads[1], 1) for x in (key, value))
    wanted = scaled_dot_product_attention(query, key, value, sees, scale=0.3).transpose(1, 2)
    found = masked_attention(*states, mask_of(sees), 0.3)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inference", [True, False])
def test_what_a_mask_lets_through_is_found_once_and_again_when_it_changes(monkeypatch, inference):
    calls = []
    own = attention._last_seen
    monkeypatch.setattr(attention, "_last_seen", lambda mask: calls.append(1) or own(mask))
    states, _ = made(2, 2, 2, 70, 70)
    with torch.inference_mode(inference), torch.no_grad():
        mask = mask_of(torch.eye(70, dtype=torch.bool)[None, None])
        diagonal = [masked_attention(*states, mask, 0.3) for _ in range(2)]
        assert len(calls) == 1
        torch.testing.assert_close(diagonal[0], diagonal[1], rtol=0, atol=0)
        if not inference:  # inference tensors have no versions
            whole = masked_attention(*states, mask.zero_(), 0.3)
            wanted = scaled_dot_product_attention(*states, scale=0.3).transpose(1, 2)
            torch.testing.assert_close(whole, wanted, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_another_mask_in_the_place_of_an_old_one_is_another():
    states, _ = made(2, 2, 2, 70, 70)
    for seed in range(5):
        torch.manual_seed(seed)
        sees = some_mask(2, 70, 70)
        sees[:, :, :, 10 * seed + 12 :] = False
        sees[:, :, :, 0] = True
        wanted = scaled_dot_product_attention(*states, sees, scale=0.3).transpose(1, 2)
        found = masked_attention(*states, mask_of(sees), 0.3)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert len(attention._LAST_SEEN) <= 1


@pytest.mark.parametrize("native", [True, False])
@torch.no_grad()
def test_through_a_mask_bfloat16_is_near_to_float32(monkeypatch, native):
    monkeypatch.setattr("llmclf_core.models.bfloat16.native_bfloat16", lambda: native)
    states, _ = made(2, 6, 6, 150, 157)
    sees = some_mask(2, 150, 157)
    wanted = scaled_dot_product_attention(*states, sees, scale=0.25).transpose(1, 2)
    rounded = [s.bfloat16() for s in states]
    found = masked_attention(*rounded, mask_of(sees, torch.bfloat16), 0.25)
    assert found.dtype == torch.bfloat16
    assert distance(found, wanted) < 0.01


@pytest.mark.parametrize("grad", [True, False], ids=["with gradients", "without"])
def test_a_mask_is_used_without_gradients_only(monkeypatch, grad):
    calls = []
    monkeypatch.setattr(attention, "masked_attention", lambda *a: calls.append(a))
    states, _ = made(1, 2, 2, 5, 5)
    with torch.set_grad_enabled(grad):
        module = SimpleNamespace(is_causal=True, num_key_value_groups=1, training=False)
        attend(module, *states, torch.zeros(1, 1, 5, 5))
    assert len(calls) == (not grad)


def distance(found, wanted):
    return ((found.float() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize(
    ("mask", "queries", "more"),
    [
        (torch.zeros(1, 1, 5, 5), 5, {}),
        (None, 5, {"is_causal": False}),
        (None, 5, {"dropout": 0.5}),
        (None, 1, {}),
    ],
    ids=["masked", "whole", "dropout", "one query"],
)
def test_what_does_not_suit_is_left_to_sdpa(monkeypatch, mask, queries, more):
    calls = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *a, **k: calls.append(k))
    states, _ = made(1, 2, 2, queries, 5)
    attend(SimpleNamespace(is_causal=True), *states, mask, **more)
    assert calls == [more]


def test_values_of_another_width_are_left_to_sdpa():
    """As DeepSeek's are."""
    (query, key, value), _ = made(1, 2, 2, 5, 5)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1, training=False)
    with torch.no_grad():
        for mask in (None, torch.zeros(1, 1, 5, 5)):
            found, _ = attend(module, query, key, value[..., :7], mask, scaling=0.2)
            assert found.shape == (1, 5, 2, 7)


def test_label_scoring_reads_through_it(tiny_base, monkeypatch):
    config = BaseModelConfig(source=str(tiny_base))
    model = load_causal(resolve(config.source), config, torch.float32)
    seen = []
    own = attention.masked_attention
    monkeypatch.setattr(attention, "masked_attention", lambda *a: seen.append(1) or own(*a))
    with torch.inference_mode():
        scorer = make_scorer(model, [[5, 6], [5, 7], [8]], [9, 10], 0)
        seen.clear()
        scorer.score([[11, 12, 13], [14]])
    assert len(seen) == model.config.num_hidden_layers


def test_models_on_a_processor_have_it(tiny_base, monkeypatch):
    config = BaseModelConfig(source=str(tiny_base))
    model = load_backbone(resolve(config.source), config, torch.float32)
    assert model.config._attn_implementation == BLOCKED
    seen = []
    own = attention.causal_attention
    monkeypatch.setattr(attention, "causal_attention", lambda *a: seen.append(len(a[0])) or own(*a))
    ids = torch.randint(5, 50, (3, 70))
    ours = model(input_ids=ids).last_hidden_state
    assert seen == [3] * model.config.num_hidden_layers
    model.set_attn_implementation("sdpa")
    theirs = model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_stated_attention_is_kept(tiny_base):
    config = BaseModelConfig(source=str(tiny_base), attention="eager")
    model = load_backbone(resolve(config.source), config, torch.float32)
    assert model.config._attn_implementation == "eager"


def test_sdpas_signature_is_still_what_is_called(tiny_base):
    states, _ = made(1, 2, 2, 5, 5)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1, training=False)
    found, _ = attend(module, *states, None, scaling=0.2)
    wanted, _ = sdpa_attention_forward(module, *states, None, scaling=0.2)
    torch.testing.assert_close(found, wanted)
