"""Our dropout is torch's: how much it drops, what it does to the rest, and to gradients."""

import pytest
import torch

from llmclf_core.config import BaseModelConfig, LoraConfig
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.dropout import Dropout
from llmclf_core.models.lora import add_adapter


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drops_its_share_and_scales_the_rest(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(1001, 501, dtype=dtype, requires_grad=True)  # not a multiple of 4
    y = Dropout(p)(x)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / 5e5) ** 0.5)
    assert torch.unique(y[kept]).item() == pytest.approx(
        1 / (1 - p), rel=1e-2 if dtype != torch.float32 else 1e-3
    )
    y.sum().backward()
    assert torch.equal(x.grad, y)
    rows = kept.float().mean(1)
    assert rows.std().item() == pytest.approx((p * (1 - p) / 501) ** 0.5, rel=0.1)


@pytest.mark.parametrize("p", [0.05, 0.09, 0.5])
def test_neighbours_are_independent(p):
    torch.manual_seed(1)
    dropped = (Dropout(p)(torch.ones(1 << 18)) == 0).float() - p
    for lag in (1, 2, 3, 4, 5, 8, 64):
        product = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert abs(product / (p * (1 - p))) < 4 / 2**9


@pytest.mark.parametrize("p", [0.05, 0.09])
def test_the_first_and_the_last_are_dropped_as_often_as_others(p):
    torch.manual_seed(2)
    drop, n = Dropout(p), 4000
    dropped = sum((drop(torch.ones(9)) == 0).float() for _ in range(n)) / n
    assert (dropped - p).abs().max().item() < 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("p", [1e-12, 1e-7, 1e-3])
def test_hardly_ever(p):
    torch.manual_seed(3)
    n = 100_000
    dropped = int((Dropout(p)(torch.ones(n)) == 0).sum())
    assert abs(dropped - n * p) <= 4 * (n * p) ** 0.5 + 1e-3


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_by_torchs_generator(p):
    drop, x = Dropout(p), torch.ones(330)
    torch.manual_seed(5)
    first, second = drop(x), drop(x.clone())
    torch.manual_seed(5)
    assert torch.equal(drop(x), first)
    assert torch.equal(drop(x.clone()), second)
    assert not torch.equal(first, second)


def test_the_same_input_has_another_mask_each_time():
    drop, x = Dropout(0.5), torch.ones(64)
    assert not torch.equal(drop(x), drop(x))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_none_and_all(p):
    assert torch.equal(Dropout(p)(torch.ones(9)), torch.full((9,), 1.0 - p))


def test_nearly_all():
    assert torch.isfinite(Dropout(0.99999)(torch.ones(1 << 16))).all()


def test_does_nothing_in_evaluation():
    x = torch.randn(7)
    assert torch.equal(Dropout(0.5).eval()(x), x)


def test_adapters_have_it(tiny_base):
    config = BaseModelConfig(source=str(tiny_base))
    backbone = load_backbone(resolve(config.source), config, torch.float32)
    model = add_adapter(backbone, LoraConfig(rank=2, dropout=0.25), config.source)
    found = {m.p for m in model.modules() if isinstance(m, Dropout)}
    assert found == {0.25}
    assert not any(type(m) is torch.nn.Dropout and m.p for m in model.modules())
