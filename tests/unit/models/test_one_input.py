"""Layers of one input that are computed together give what they give apart."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from transformers import AutoModel, BertConfig, PretrainedConfig

from llmclf_core.models.low_rank import LowRank
from llmclf_core.models.one_input import OneInput, _Products
from tests.unit.models.adapters import IDS, adapt, as_peft_has_it, distance, layers, loaded, run
from tests.unit.models.test_shared_prefix import CONFIGS, WINDOWED

BERT = BertConfig(
    vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)
ARCHITECTURES = {n: c for n, c in (CONFIGS | WINDOWED).items() if n != "gpt2"} | {"bert": BERT}
"""Queries, keys and values of Qwen 2 and BERT have biases; GPT-2's layers are none of torch's."""


def groups(model):
    return {id(m.one_input): m.one_input for m in layers(model)}.values()


def set_apart(model):
    for layer in layers(model):
        layer.one_input.result = lambda layer, x: None
    return model


def assert_like_peft(model):
    with mock.patch.object(_Products, "apply", wraps=_Products.apply) as products:
        hidden, grads = run(model)
    assert products.call_count == len(groups(model))
    assert len(grads) == 2 * len(layers(model))
    as_peft_has_it(set_apart(model))
    wanted, wanted_grads = run(model)
    assert distance(hidden, wanted) < 1e-5
    for name, grad in grads.items():
        assert distance(grad, wanted_grads[name]) < 1e-4, name


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_results_and_gradients_are_those_of_peft(tiny_base, quantization):
    assert_like_peft(loaded(tiny_base, quantization=quantization))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_in_other_architectures(name):
    torch.manual_seed(1)
    more = {"add_pooling_layer": False} if name == "bert" else {}
    backbone = AutoModel.from_config(ARCHITECTURES[name], dtype=torch.float32, **more)
    backbone.requires_grad_(False)
    for parameter in backbone.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1  # biases are zero in a new model
    model = adapt(backbone, dropout=0.0).eval()  # the architecture's own dropout is off
    assert_like_peft(model)


class Swapped(torch.nn.Module):
    """Layers of one input, two in the order that is not usual, and one that is called twice."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (torch.nn.Linear(6, 6) for _ in range(3))
        self.up_proj, self.gate_proj, self.o_proj = (torch.nn.Linear(6, 6) for _ in range(3))
        self.config = PretrainedConfig(tie_word_embeddings=False)

    def get_output_embeddings(self):
        return None

    def forward(self, input_ids=None, x=None):
        x = torch.nn.functional.one_hot(input_ids % 6).float() if x is None else x
        q, k = self.q_proj(x), self.k_proj(x * 1)
        x = x + q + k
        x = self.up_proj(x) * self.gate_proj(x)
        x = self.o_proj(x) + self.o_proj(x).clamp_(-1, 1)
        return SimpleNamespace(last_hidden_state=x)


def test_calls_decide_who_is_together():
    torch.manual_seed(0)
    model = adapt(Swapped().requires_grad_(False), dropout=0.0)
    names = {id(m): name.rsplit(".", 1)[-1] for name, m in model.named_modules()}
    found = {tuple(names[id(m)] for m in group.layers) for group in groups(model)}
    alone = {("q_proj",), ("k_proj",), ("v_proj",), ("o_proj",)}
    assert found == alone | {("up_proj", "gate_proj")}
    wanted, grads = model(IDS).last_hidden_state, {}
    wanted.square().sum().backward()
    for name, parameter in model.named_parameters():
        grads[name], parameter.grad = parameter.grad, None
    found = set_apart(model)(IDS).last_hidden_state
    found.square().sum().backward()
    torch.testing.assert_close(found, wanted)
    for name, parameter in model.named_parameters():
        if grads[name] is not None:
            torch.testing.assert_close(parameter.grad, grads[name])


def test_a_model_that_cannot_be_tried_has_each_alone():
    backbone = Swapped().requires_grad_(False)
    backbone.forward = lambda x: x
    assert {len(group.layers) for group in groups(adapt(backbone, dropout=0.0))} == {1}


def test_results_can_be_changed_in_place(group):
    query = group.layers[0]
    x = torch.randn(3, query.in_features)
    found = query(x).clamp_(-0.1, 0.1)
    torch.testing.assert_close(found, _alone(query, x).clamp(-0.1, 0.1))
    found.sum().backward()


def test_who_is_together(tiny_base):
    model = loaded(tiny_base)
    names = {id(m): name.rsplit(".", 1)[-1] for name, m in model.named_modules()}
    found = [[names[id(m)] for m in group.layers] for group in groups(model)]
    assert found[:4] == [
        ["q_proj", "k_proj", "v_proj"],
        ["o_proj"],
        ["gate_proj", "up_proj"],
        ["down_proj"],
    ]
    assert len(found) == 16
    some = loaded(tiny_base, targets=["q_proj", "v_proj", "up_proj"])
    assert [len(group.layers) for group in groups(some)] == [2, 1] * 4


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("native", [True, False])
def test_in_bfloat16_it_is_as_near_to_float32_as_layers_apart(
    tiny_base, monkeypatch, native, quantization
):
    monkeypatch.setattr("llmclf_core.models.bfloat16.native_bfloat16", lambda: native)
    monkeypatch.setattr("llmclf_core.models.base.native_bfloat16", lambda: native)
    wanted, wanted_grads = run(loaded(tiny_base, quantization=quantization))
    model = loaded(tiny_base, torch.bfloat16, quantization)
    hidden, grads = run(model)
    apart, apart_grads = run(set_apart(model))
    assert hidden.dtype == torch.bfloat16
    assert distance(hidden, wanted) < 1.5 * distance(apart, wanted)
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        far = distance(apart_grads[name], wanted_grads[name])
        assert distance(grad, wanted_grads[name]) < 2 * far, name


def test_layers_that_are_computed_again_have_the_same_masks(tiny_base):
    model = loaded(tiny_base, dropout=0.4)
    hidden, grads = run(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with mock.patch.object(_Products, "apply", wraps=_Products.apply) as products:
        again, grads_again = run(model)
    assert products.call_count > 1.5 * len(groups(model))
    torch.testing.assert_close(again, hidden)
    assert grads.keys() == grads_again.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grads_again[name], grad)


def test_one_mask_for_layers_of_one_input_and_the_gradient_goes_through_it(tiny_base):
    model = loaded(tiny_base, dropout=0.4)
    query, key, value = layers(model)[:3]
    x = torch.randn(2, 5, query.in_features, requires_grad=True)
    dropout = query.lora_dropout["default"]
    torch.manual_seed(2)
    mask, factor = dropout.mask(x)
    torch.manual_seed(2)
    found = [layer(x) for layer in (query, key, value)]
    kept = x * (mask != 0) * factor
    wanted = [
        m.base_layer(x) + kept @ m.lora_A["default"].weight.T @ m.lora_B["default"].weight.T * 2
        for m in (query, key, value)
    ]
    weights = [torch.randn_like(y) for y in found]
    parameters = [x, *(p for m in (query, key, value) for p in m.parameters() if p.requires_grad)]
    for mine, its in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, its)
    mine, its = (torch.autograd.grad(ys, parameters, weights) for ys in (found, wanted))
    for found, wanted in zip(mine, its, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture
def group(tiny_base):
    """A layer's queries, keys and values."""
    return layers(loaded(tiny_base))[0].one_input


def test_another_input_and_one_changed_in_place_are_computed_apart(group):
    query, key, value = group.layers
    x, other = torch.randn(2, 3, 5, query.in_features)
    first = query(x)
    torch.testing.assert_close(key(other), _alone(key, other))
    x += 1
    torch.testing.assert_close(value(x), _alone(value, x))
    assert not torch.allclose(query(x), first)


def _alone(layer, x):
    low = x @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    return layer.base_layer(x) + low * layer.scaling["default"]


def test_nothing_is_held_once_all_have_their_results(group):
    x = torch.randn(3, group.layers[0].in_features)
    for layer in group.layers:
        layer(x)
    assert group._last is None


def test_a_layer_called_twice_computes_again(group):
    query, key, _ = group.layers
    x = torch.randn(3, query.in_features)
    query(x), key(x)
    torch.testing.assert_close(key(x), _alone(key, x))


@pytest.mark.parametrize(
    "how", ["merged", "disabled", "inference", "no gradients", "wider", "autocast"]
)
def test_where_it_does_not_suit_layers_are_apart(group, how):
    layer = group.layers[0]
    x = torch.randn(3, layer.in_features)
    wanted = _alone(layer, x) if how != "disabled" else layer.base_layer(x)
    if how == "merged":
        layer.merge()
    if how == "disabled":
        layer.enable_adapters(False)
    if how == "wider":
        group.layers[1].get_base_layer().to(torch.float64)
    modes = {
        "inference": torch.inference_mode,
        "no gradients": torch.no_grad,
        "autocast": lambda: torch.autocast("cpu"),
    }
    with (
        mock.patch.object(_Products, "apply", side_effect=AssertionError),
        modes.get(how, torch.enable_grad)(),
    ):
        loose = {"rtol": 0.02, "atol": 0.02} if how == "autocast" else {}
        torch.testing.assert_close(layer(x).float(), wanted, **loose)


def test_an_input_without_a_gradient_gets_none(group):
    layer = group.layers[0]
    result = layer(torch.randn(3, layer.in_features))
    with mock.patch("llmclf_core.models.one_input._weight", side_effect=AssertionError):
        result.sum().backward()
    assert layer.lora_A["default"].weight.grad.norm() > 0


def test_merging_gives_the_same_and_can_be_undone(tiny_base):
    model = loaded(tiny_base)
    wanted = model(input_ids=IDS).last_hidden_state
    model.merge_adapter()
    torch.testing.assert_close(model(input_ids=IDS).last_hidden_state, wanted)
    model.unmerge_adapter()
    torch.testing.assert_close(model(input_ids=IDS).last_hidden_state, wanted)
    assert all(isinstance(m.lora_variant["default"], LowRank) for m in layers(model))
    assert all(isinstance(m.one_input, OneInput) for m in layers(model))
