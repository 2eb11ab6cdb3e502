"""A last layer that is computed where it is read gives the same there, and the same gradients."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, BertConfig

from llmclf_core.config import BaseModelConfig, HeadConfig, LoraConfig
from llmclf_core.models import head as head_module
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.last_layer import at_places, only_read_at, prepare
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.lower import layers_of
from tests.unit.models.test_shared_prefix import CONFIGS, SMALL, WINDOWED

READ = torch.zeros(3, 9, dtype=torch.bool)
READ[0, 8] = READ[1, 0] = READ[1, 5] = READ[2, 3] = True
IDS = torch.arange(27).view(3, 9) + 5


def made(name):
    torch.manual_seed(1)
    config = (CONFIGS | WINDOWED)[name]
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def watched(model):
    """Shapes of what the last layer's feed-forward part is given from now on."""
    shapes = []
    layers_of(model)[-1].mlp.register_forward_hook(lambda m, i, o: shapes.append(i[0].shape[:-1]))
    return shapes


@pytest.mark.parametrize("name", [*CONFIGS, *WINDOWED])
def test_results_and_gradients_are_the_same(name):
    model = made(name)
    whole = model(input_ids=IDS).logits[READ]
    wanted = torch.autograd.grad(whole.logsumexp(-1).sum(), list(model.parameters()))
    prepare(model)
    shapes = watched(model)
    with only_read_at(READ):
        found = model(input_ids=IDS).logits[READ]
    grads = torch.autograd.grad(found.logsumexp(-1).sum(), list(model.parameters()))
    assert shapes == [(1, 4)]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    for mine, its in zip(grads, wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)


def test_outside_and_in_other_threads_everything_is_computed():
    model = made("llama")
    prepare(model)
    shapes = watched(model)
    with only_read_at(READ), ThreadPoolExecutor(1) as other:
        other.submit(model, input_ids=IDS).result()
    model(input_ids=IDS)
    assert shapes == [(3, 9), (3, 9)]


def test_an_input_of_another_shape_is_computed_as_ever():
    model = made("llama")
    prepare(model)
    shapes = watched(model)
    with only_read_at(READ):
        found = model(input_ids=IDS[:2]).logits
    assert shapes == [(2, 9)]
    torch.testing.assert_close(found, model(input_ids=IDS[:2]).logits)


def test_layers_that_are_computed_again_are_computed_whole():
    model = made("llama")
    prepare(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    shapes = watched(model.train())
    with only_read_at(READ):
        loss = model(input_ids=IDS, use_cache=False).logits[READ].sum()
    loss.backward()
    assert set(shapes) == {(3, 9)}


class Mixing(nn.Module):
    """Not a token by itself."""

    def forward(self, x):
        return x.cumsum(-2)


class Several(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize("mlp", [Mixing, Several])
def test_a_layer_that_is_not_as_expected_stays_as_it_was(mlp):
    model = made("llama")
    layers_of(model)[-1].mlp = mlp()
    prepare(model)
    hooked = layers_of(model)[-1].mlp
    assert not hooked._forward_hooks
    assert not hooked._forward_pre_hooks


def test_models_without_such_a_layer_stay_as_they_were():
    config = BertConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"})
    model = AutoModel.from_config(config)
    prepare(model)
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_head_has_it_where_it_pools_the_last_token(tiny_base, monkeypatch, pooling):
    config = BaseModelConfig(source=str(tiny_base))
    backbone = load_backbone(resolve(config.source), config, torch.float32)
    torch.manual_seed(0)
    head = ClassificationHead(backbone.config.hidden_size, 3, HeadConfig(pooling=pooling))
    model = HeadModel(backbone, head).eval()
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5, [0] * 3 + [1] * 6])
    shapes = watched(backbone)
    found = model(IDS, mask)
    assert shapes == [(1, 3)] if pooling == "last" else [(3, 9)]
    monkeypatch.setattr(head_module, "only_read_at", lambda read: nullcontext())
    torch.testing.assert_close(found, model(IDS, mask), rtol=1e-5, atol=1e-5)
    assert shapes[-1] == (3, 9)


def test_places_may_come_twice():
    places = torch.tensor([[0, 2, 2], [1, 1, 1]])
    expected = [[True, False, True, False], [False, True, False, False]]
    assert at_places(places, 4).tolist() == expected


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_with_an_adapter_it_is_the_same(tiny_base, monkeypatch, dtype, quantization):
    config = BaseModelConfig(source=str(tiny_base), quantization=quantization)
    backbone = load_backbone(resolve(config.source), config, dtype)
    torch.manual_seed(0)
    adapted = add_adapter(backbone, LoraConfig(rank=4, dropout=0.0), "base")
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    head = ClassificationHead(backbone.config.hidden_size, 3, HeadConfig())
    model, mask = HeadModel(adapted, head).eval(), torch.ones_like(IDS)
    trained = [p for p in model.parameters() if p.requires_grad]

    def found():
        logits = model(IDS, mask)
        return logits, *torch.autograd.grad(logits.logsumexp(-1).sum(), trained)

    shapes = watched(backbone)
    ours = found()
    monkeypatch.setattr(head_module, "only_read_at", lambda read: nullcontext())
    bound = 1e-5 if dtype == torch.float32 else 0.02
    for mine, its in zip(ours, found(), strict=True):
        assert (mine - its).norm() <= bound * its.norm()
    assert shapes == [(1, 3), (3, 9)]
