import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.models.base import (
    bare_model,
    compute_dtype,
    find_settings,
    load_backbone,
    resolve,
)
from llmclf_core.tokens.encode import load_tokenizer


def test_directory_is_used_in_place(tiny_base):
    base = resolve(str(tiny_base))
    assert base.directory == tiny_base
    assert base.revision is None
    assert base.reference()["source"] == str(tiny_base)


def test_equal_weights_have_equal_fingerprints(tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    assert resolve(str(copy)).fingerprint == resolve(str(tiny_base)).fingerprint


def test_other_weights_have_another_fingerprint(tiny_base, tmp_path):
    from tests.conftest import build_tiny_base

    other = build_tiny_base(tmp_path / "other", seed=1)
    assert resolve(str(other)).fingerprint != resolve(str(tiny_base)).fingerprint


def test_home_and_variables_are_expanded(tiny_base, monkeypatch):
    monkeypatch.setenv("MODELS", str(tiny_base.parent))
    assert resolve(f"${{MODELS}}/{tiny_base.name}").directory == tiny_base


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/model", "no such file or directory"),
        ("/no/such/model.gguf", "no such file"),
        ("a b c", "no such file or directory"),
    ],
)
def test_missing_local_model(source, message):
    with pytest.raises(UserError, match=message):
        resolve(source)


def test_no_network_and_no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not in the local cache and the hub cannot be reached"):
        resolve("some-org/some-model")


def test_pickled_weights_are_not_loaded(tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights are not loaded"):
        resolve(str(copy))


def test_truncated_header(tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(UserError, match="truncated or not safetensors"):
        resolve(str(copy))


def test_truncated_weights(tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    base = resolve(str(copy))
    with pytest.raises(UserError, match="damaged"):
        load_backbone(base, BaseModelConfig(source=str(copy)), torch.float32)


def test_not_a_gguf_file(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(UserError, match="not a GGUF file that transformers reads"):
        resolve(str(path))


def test_unknown_architecture(tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "no-such-thing"}))
    with pytest.raises(UserError, match="cannot load base model"):
        load_backbone(resolve(str(copy)), BaseModelConfig(source=str(copy)), torch.float32)


def test_backbone_is_frozen_and_has_no_language_model_head(tiny_base):
    model = load_backbone(
        resolve(str(tiny_base)), BaseModelConfig(source=str(tiny_base)), torch.float32
    )
    assert not any(p.requires_grad for p in model.parameters())
    assert not hasattr(model, "lm_head")


@pytest.mark.parametrize("double", [True, False])
def test_nf4_quantises_every_linear_layer(tiny_base, double):
    config = BaseModelConfig(source=str(tiny_base), quantization="nf4", double_quantization=double)
    model = load_backbone(resolve(str(tiny_base)), config, torch.float32)
    kinds = {type(m).__name__ for m in model.layers.modules() if hasattr(m, "weight")}
    assert "Linear4bit" in kinds
    assert "Linear" not in kinds
    weight = model.layers[0].self_attn.q_proj.weight
    assert weight.quant_state.quant_type == "nf4"
    assert weight.quant_state.nested is double


def test_compute_dtype():
    assert compute_dtype("float32") is torch.float32
    assert compute_dtype("bfloat16") is torch.bfloat16
    assert compute_dtype("auto") in (torch.float32, torch.bfloat16)


@pytest.mark.assets
def test_gguf_is_converted_once(smollm2):
    first = resolve(str(smollm2))
    stamp = (first.directory / "config.json").stat().st_mtime_ns
    second = resolve(str(smollm2))
    assert first == second
    assert (second.directory / "config.json").stat().st_mtime_ns == stamp
    model = load_backbone(first, BaseModelConfig(source=str(smollm2)), torch.float32)
    assert model.config.num_hidden_layers == 30
    assert sum(p.numel() for p in model.parameters()) == 134_515_008


@pytest.mark.assets
def test_settings_of_a_gguf_file_are_those_of_the_converted(smollm2, tmp_path, monkeypatch):
    converted = resolve(str(smollm2)).directory
    assert find_settings(str(smollm2), None, tmp_path / "unused").directory == converted
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path / "empty"))
    found = find_settings(str(smollm2), None, tmp_path / "found").directory
    assert found == tmp_path / "found"
    assert not list(found.glob("*.safetensors"))
    assert not (tmp_path / "empty").exists()
    with torch.device("meta"):
        ours, theirs = (
            bare_model(AutoModelForCausalLM, d).state_dict() for d in (found, converted)
        )
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
    ids = [load_tokenizer(d)("A text <|im_end|>").input_ids for d in (found, converted)]
    assert ids[0] == ids[1]
