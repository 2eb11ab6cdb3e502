"""Norms in fewer passes are those of transformers: results, gradients, and which are replaced."""

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from llmclf_core.config import BaseModelConfig
from llmclf_core.models import rms_norm as rms_norm_module
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.rms_norm import RmsNorm, rms_norm, use_fast_norms

WIDTH = 48


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = LlamaRMSNorm(WIDTH, 1e-3)
    norm.weight.data.uniform_(0.5, 1.5)
    return norm


def some(*shape, dtype=torch.float32):
    x = torch.randn(*shape, WIDTH) * torch.logspace(-3, 2, WIDTH)
    return x.to(dtype).requires_grad_(), torch.randn(*shape, WIDTH).to(dtype)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 1), (2, 3, 4)])
def test_results_and_gradients_are_those_of_transformers(norm, shape):
    x, grad = some(*shape)
    ours, theirs = rms_norm(x, norm.weight, 1e-3), norm(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    pairs = (torch.autograd.grad(y, (x, norm.weight), grad) for y in (ours, theirs))
    for found, wanted in zip(*pairs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_differences(norm):
    x = torch.randn(3, WIDTH, dtype=torch.float64, requires_grad=True)
    # Means and factors are float32.
    assert torch.autograd.gradcheck(
        lambda x, w: rms_norm(x, w, 1e-3),
        (x, norm.weight.double().detach().requires_grad_()),
        eps=1e-2, atol=1e-3, rtol=1e-3,
    )  # fmt: skip


def test_bfloat16_is_rounded_as_transformers_rounds_it(norm):
    x, grad = some(64, dtype=torch.bfloat16)
    rounded = norm.bfloat16()
    ours, theirs = rms_norm(x, rounded.weight, 1e-3), rounded(x)
    assert ours.dtype == torch.bfloat16
    assert (ours == theirs).float().mean() > 0.99
    torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0.01)
    wide = x.detach().float().requires_grad_()
    (wanted,) = torch.autograd.grad(norm.float()(wide), wide, grad.float())
    (found,) = torch.autograd.grad(ours, x, grad)
    assert found.dtype == torch.bfloat16
    assert ((found.float() - wanted).norm() / wanted.norm()).item() < 0.01


def test_norms_that_compute_otherwise_stay(norm):
    class OwnRMSNorm(nn.Module):
        def forward(self, x):
            return x

    class OtherArgumentsRMSNorm(LlamaRMSNorm):
        def forward(self, x, gate):
            return super().forward(x) * gate

    others = [
        GemmaRMSNorm(WIDTH),
        OwnRMSNorm(),
        nn.LayerNorm(WIDTH),
        OtherArgumentsRMSNorm(WIDTH),
        Olmo2RMSNorm(WIDTH),  # the input's type, not the weights', is the result's
    ]
    kinds = [type(other) for other in others]
    model = nn.ModuleList([*others, norm])
    use_fast_norms(model)
    assert [type(module) for module in model] == [*kinds, RmsNorm]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_on_a_processor_have_them(tiny_base, monkeypatch, dtype):
    config, ids = BaseModelConfig(source=str(tiny_base)), torch.randint(5, 50, (3, 20))
    fast = load_backbone(resolve(config.source), config, dtype)
    kinds = [type(m) for m in fast.modules() if "Norm" in type(m).__name__]
    assert set(kinds) == {RmsNorm}
    assert len(kinds) == 2 * fast.config.num_hidden_layers + 1
    monkeypatch.setattr(rms_norm_module, "on_cpu", lambda: False)
    plain = load_backbone(resolve(config.source), config, dtype)
    assert RmsNorm not in {type(m) for m in plain.modules()}
    ours, theirs = (m(input_ids=ids).last_hidden_state.float() for m in (fast, plain))
    bound = 1e-5 if dtype == torch.float32 else 0.02
    assert ((ours - theirs).norm() / theirs.norm()).item() < bound
