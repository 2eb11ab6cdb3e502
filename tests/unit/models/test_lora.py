"""Adapters: where they sit, what they change, that a damaged one is refused."""

import json
import re

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from llmclf_core.config import BaseModelConfig, LoraConfig
from llmclf_core.errors import UserError
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.lora import adapter_scales, add_adapter, load_adapter, save_adapter

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture
def backbone(tiny_base):
    """Loads the tiny model afresh; quantised when asked."""

    def load(quantization="none"):
        config = BaseModelConfig(source=str(tiny_base), quantization=quantization)
        return load_backbone(resolve(str(tiny_base)), config, torch.float32)

    return load


def hidden(model):
    with torch.inference_mode():
        return model(input_ids=IDS).last_hidden_state


def adapted(model):
    """(layer number, name of the linear layer) of every adapted one."""
    found = (
        re.search(r"layers\.(\d+)\..*\.(\w+)\.lora_A\.", n) for n, _ in model.named_parameters()
    )
    return {(int(m[1]), m[2]) for m in found if m}


def randomise(model):
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_fresh_adapter_changes_nothing(backbone, quantization):
    model = backbone(quantization)
    before = hidden(model)
    fresh = add_adapter(model, LoraConfig(rank=4), "base").eval()
    assert torch.equal(hidden(fresh), before)
    assert not torch.allclose(hidden(randomise(fresh)), before, atol=1e-2)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_all_linear_layers(backbone, quantization):
    model = add_adapter(backbone(quantization), LoraConfig(), "base")
    assert adapted(model) == {(layer, name) for layer in range(4) for name in LINEAR}


def test_named_targets(backbone):
    model = add_adapter(backbone(), LoraConfig(targets=["q_proj", "up_proj"]), "base")
    assert adapted(model) == {(layer, n) for layer in range(4) for n in ("q_proj", "up_proj")}


@pytest.mark.parametrize("top", [1, 2, 4])
@pytest.mark.parametrize("targets", ["all-linear", ["v_proj"]], ids=str)
def test_top_layers_are_the_last_ones(backbone, top, targets):
    model = add_adapter(backbone(), LoraConfig(top_layers=top, targets=targets), "base")
    names = LINEAR if targets == "all-linear" else targets
    assert adapted(model) == {(layer, name) for layer in range(4 - top, 4) for name in names}


def test_only_the_adapter_trains(backbone):
    model = add_adapter(backbone(), LoraConfig(rank=3, targets=["q_proj", "k_proj"]), "base")
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    # q is 64 × 64, k is 32 × 64; rank 3; four layers.
    assert sum(p.numel() for p in trained.values()) == 4 * 3 * ((64 + 64) + (64 + 32))


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8 / 4), (True, 8 / 4**0.5)])
def test_scale(backbone, rslora, scale):
    """The layer's output is W x + scale · B A x."""
    model = backbone()
    plain = model.layers[2].mlp.up_proj
    model = add_adapter(model, LoraConfig(rank=4, alpha=8, dropout=0, rslora=rslora), "base")
    layer = randomise(model).base_model.model.layers[2].mlp.up_proj
    x = torch.randn(5, 64)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = x @ plain.weight.T + scale * (x @ a.T @ b.T)
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
    assert set(adapter_scales(model).values()) == {scale}
    assert len(adapter_scales(model)) == 28


def test_dropout_is_for_training_only(backbone):
    model = randomise(add_adapter(backbone(), LoraConfig(rank=4, dropout=0.5), "base"))
    assert not torch.equal(hidden(model.train()), hidden(model))
    assert torch.equal(hidden(model.eval()), hidden(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ["query", "q_proj"]}, r"no linear layer query; it has down_proj, gate_proj"),
        ({"top_layers": 5}, r"lora\.top_layers is 5, but the base model has 4 layers"),
    ],
)
def test_settings_that_do_not_fit(backbone, settings, message):
    with pytest.raises(UserError, match=message):
        add_adapter(backbone(), LoraConfig(**settings), "base")


@pytest.fixture
def saved(backbone, tmp_path):
    """A saved adapter that changes its base, and what it gives."""
    model = randomise(add_adapter(backbone(), LoraConfig(rank=4, rslora=True), "some/base")).eval()
    save_adapter(model, tmp_path / "adapter")
    return tmp_path / "adapter", hidden(model)


def test_merged_is_only_what_loses_no_digits(backbone, saved):
    layers = [m for m in load_adapter(backbone(), saved[0]).modules() if isinstance(m, LoraLayer)]
    assert layers
    assert all(layer.merged for layer in layers)
    coarse = load_adapter(backbone().to(torch.bfloat16), saved[0])
    assert not any(m.merged for m in coarse.modules() if isinstance(m, LoraLayer))


def test_loaded_adapter_gives_the_same(backbone, saved):
    path, expected = saved
    loaded = load_adapter(backbone(), path)
    torch.testing.assert_close(hidden(loaded), expected, rtol=1e-5, atol=1e-5)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not loaded.training


def test_names_are_saved_in_order(backbone, tmp_path):
    """As sets they have another order in every process, and the same adapter other bytes."""
    model = add_adapter(backbone(), LoraConfig(), "base", [f"module_{i}" for i in range(9)])
    save_adapter(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["exclude_modules"] == [f"module_{i}" for i in range(9)]


def test_saved_adapter_is_small_and_names_its_base(saved):
    path, _ = saved
    assert sorted(f.name for f in path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert all("lora_" in name for name in load_file(path / "adapter_model.safetensors"))
    config = json.loads((path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/base"


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def other_shape(file):
    tensors = {name: t[:, :5].contiguous() for name, t in load_file(file).items()}
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("adapter_model.safetensors", lambda f: f.unlink(), "adapter_model.safetensors is missing"),
        ("adapter_model.safetensors", cut, "cannot load the adapter in"),
        ("adapter_model.safetensors", other_shape, "cannot load the adapter in"),
        ("adapter_config.json", lambda f: f.unlink(), "cannot load the adapter in"),
        ("adapter_config.json", cut, "cannot load the adapter in"),
    ],
)
def test_damaged_adapter(backbone, saved, name, damage, message):
    path, _ = saved
    damage(path / name)
    with pytest.raises(UserError, match=message):
        load_adapter(backbone(), path)


def test_out_of_memory_is_no_damage(backbone, saved, monkeypatch):
    from peft import PeftModel

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(PeftModel, "from_pretrained", full)
    with pytest.raises(torch.OutOfMemoryError):
        load_adapter(backbone(), saved[0])
