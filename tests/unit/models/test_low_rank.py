"""The adapter's product is PEFT's: results, gradients, merged weights."""

import pytest
import torch
from peft import LoraConfig as PeftLoraConfig
from peft.tuners.lora.layer import Linear

from llmclf_core.models.low_rank import LowRank
from tests.unit.models.adapters import as_peft_has_it, distance, layers, loaded, run


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """As on a GPU: on processors layers of one input are computed together."""
    monkeypatch.setattr("llmclf_core.models.lora.compute_together", lambda model: None)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_results_and_gradients_are_those_of_peft(tiny_base, quantization):
    model = loaded(tiny_base, quantization=quantization).train()
    hidden, grads = run(model)
    assert len(grads) == 2 * len(layers(model))
    as_peft_has_it(model)
    wanted, wanted_grads = run(model)
    assert distance(hidden, wanted) < 1e-5
    for name, grad in grads.items():
        assert distance(grad, wanted_grads[name]) < 1e-4, name


@pytest.mark.parametrize("native", [True, False])
def test_in_bfloat16_it_is_nearly_as_near_to_float32_as_peft_is(tiny_base, monkeypatch, native):
    monkeypatch.setattr("llmclf_core.models.bfloat16.native_bfloat16", lambda: native)
    wanted, wanted_grads = run(loaded(tiny_base).train())
    model = loaded(tiny_base, torch.bfloat16).train()
    hidden, grads = run(model)
    as_peft_has_it(model)
    theirs, their_grads = run(model)
    assert hidden.dtype == torch.bfloat16
    assert distance(hidden, wanted) < 2 * distance(theirs, wanted)  # which multiplies in float32
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        assert distance(grad, wanted_grads[name]) < 0.1, name
        assert distance(grad, wanted_grads[name]) < 3 * distance(
            their_grads[name], wanted_grads[name]
        )


def test_with_dropout_it_is_the_same_on_average(tiny_base):
    model = loaded(tiny_base, dropout=0.3).eval()
    layer = layers(model)[0]
    x = torch.randn(4, layer.in_features)
    whole = layer(x)
    layer.train()
    torch.manual_seed(0)
    some = torch.stack([layer(x.clone()) for _ in range(4000)])
    own = layer.base_layer(x)
    spread = some.std(0) / 4000**0.5
    assert ((some.mean(0) - whole).abs() < 5 * spread + 1e-6).all()
    assert not torch.allclose(some[0], some[1])
    assert (whole - own).abs().max() > 10 * spread.max()


def test_merging_gives_the_same_and_can_be_undone(tiny_base):
    model = loaded(tiny_base).eval()
    before = {n: p.clone() for n, p in model.named_parameters()}
    ids = torch.randint(5, 50, (2, 9))
    wanted = model(input_ids=ids).last_hidden_state
    for safe in (False, True):
        model.merge_adapter(safe_merge=safe)
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, wanted)
        model.unmerge_adapter()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, before[name])


def test_a_result_that_is_a_view_is_left_alone():
    layer = torch.nn.Linear(4, 3)
    wrapped = Linear(layer, "default", PeftLoraConfig(r=2, lora_alpha=2), r=2, lora_alpha=2)
    LowRank.use(wrapped)
    torch.nn.init.normal_(wrapped.lora_B["default"].weight)
    x = torch.randn(2, 5, 4, requires_grad=True)
    result = wrapped(x)
    low = x @ wrapped.lora_A["default"].weight.T @ wrapped.lora_B["default"].weight.T
    torch.testing.assert_close(result, layer(x) + low)
    (grad,) = torch.autograd.grad(result.sum(), x)
    (wanted,) = torch.autograd.grad((layer(x) + low).sum(), x)
    torch.testing.assert_close(grad, wanted)
