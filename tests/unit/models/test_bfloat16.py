"""Wide products against exact arithmetic, and in whole models."""

import pytest
import torch
from torch import nn

from llmclf_core.config import BaseModelConfig, LoraConfig
from llmclf_core.models import base as base_module
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.bfloat16 import WideLinear, widen_products
from llmclf_core.models.lora import add_adapter

ROUNDING = 2.0**-8
"""Of bfloat16, relative."""


def layer(bias: bool) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 48, bias=bias).to(torch.bfloat16)


def close(found, exact, times=1.0):
    """Within some roundings of the largest value."""
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).abs().max() <= times * ROUNDING * exact.abs().max()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 96), (2, 3, 96), (96,)])
def test_equals_exact_arithmetic_but_for_the_rounding_of_the_result(bias, shape):
    plain = layer(bias)
    widen_products(model := nn.Sequential(plain))
    assert type(model[0]) is WideLinear
    x = torch.randn(shape).bfloat16().requires_grad_()
    grad = torch.randn(*shape[:-1], 48).bfloat16()
    found = model(x)
    found.backward(grad)
    weight = plain.weight.detach().double().requires_grad_()
    wide = x.detach().double().requires_grad_()
    exact = wide @ weight.T + (plain.bias.detach().double() if bias else 0)
    exact.backward(grad.double())
    close(found, exact, 2 if bias else 1)
    close(x.grad, wide.grad)
    close(plain.weight.grad, weight.grad)


def test_rounds_less_than_torch_does():
    plain = layer(False)
    x = torch.randn(64, 96).bfloat16()
    exact = x.double() @ plain.weight.double().T
    torchs = (plain(x).double() - exact).norm()
    widen_products(nn.Sequential(plain))
    assert (plain(x).double() - exact).norm() <= 1.01 * torchs


def test_leaves_other_types_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4).bfloat16(), layer(True))
    widen_products(model)
    assert [type(m) for m in model] == [nn.Linear, nn.LayerNorm, WideLinear]
    x = torch.randn(2, 96)
    model[2].float()
    assert torch.equal(model[2](x), nn.functional.linear(x, model[2].weight, model[2].bias))


@pytest.mark.parametrize("native", [True, False])
def test_a_backbone_is_wide_only_where_hardware_is_not(tiny_base, monkeypatch, native):
    monkeypatch.setattr(base_module, "native_bfloat16", lambda: native)
    config = BaseModelConfig(source=str(tiny_base), dtype="bfloat16")
    model = load_backbone(resolve(str(tiny_base)), config, torch.bfloat16)
    kinds = {type(m) for m in model.modules() if isinstance(m, nn.Linear)}
    assert kinds == {nn.Linear if native else WideLinear}


def test_a_training_step_is_that_of_plain_layers(tiny_base, monkeypatch):
    config = BaseModelConfig(source=str(tiny_base), dtype="bfloat16")
    grads = []
    for native in (True, False):
        monkeypatch.setattr(base_module, "native_bfloat16", lambda native=native: native)
        model = load_backbone(resolve(str(tiny_base)), config, torch.bfloat16)
        torch.manual_seed(0)
        model = add_adapter(model, LoraConfig(rank=4, dropout=0.0), "base")
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
        output = model(input_ids=torch.arange(1, 13).view(2, 6)).last_hidden_state
        output.float().square().mean(1).sum().backward()
        grads.append({n: p.grad.double() for n, p in model.named_parameters() if p.requires_grad})
    plain, wide = grads
    for name, grad in plain.items():
        assert (wide[name] - grad).norm() <= 0.05 * grad.norm(), name
