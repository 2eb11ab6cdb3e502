"""Base models of a few layers."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from llmclf_core.planning.cutdown import cut_down, shape_of


def test_so_many_layers_and_otherwise_alike(tiny_base, tmp_path):
    cut_down(tiny_base, 1, tmp_path)
    assert shape_of(tiny_base) == (4, 64)
    assert shape_of(tmp_path) == (1, 64)
    whole, cut = (load_file(d / "model.safetensors") for d in (tiny_base, tmp_path))
    left = {name: t.shape for name, t in whole.items() if ".layers." not in name}
    left |= {name: t.shape for name, t in whole.items() if ".layers.0." in name}
    assert {name: tensor.shape for name, tensor in cut.items()} == left
    assert not torch.equal(cut["model.embed_tokens.weight"], whole["model.embed_tokens.weight"])
    assert AutoModel.from_pretrained(tmp_path).config.num_hidden_layers == 1


def test_is_stored_as_the_whole_model_is(tiny_base, tiny_encoder, tmp_path):
    config = json.loads((tiny_base / "config.json").read_text())
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    cut_down(tmp_path / "half", 1, tmp_path / "base")
    types = {t.dtype for t in load_file(tmp_path / "base" / "model.safetensors").values()}
    assert types == {torch.bfloat16}
    cut_down(tiny_encoder, 1, tmp_path / "encoder")
    names = load_file(tmp_path / "encoder" / "model.safetensors")
    assert any(name.startswith("cls.") for name in names)  # BertForMaskedLM, without a pooler
    assert not any("pooler" in name for name in names)


def test_lists_with_an_entry_a_layer_are_cut(tmp_path):
    from transformers import Qwen3Config

    kinds = ["sliding_attention", "full_attention"] * 3
    config = Qwen3Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=6, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, layer_types=kinds, use_sliding_window=True,
        sliding_window=4, max_window_layers=0,
    )  # fmt: skip
    config.save_pretrained(tmp_path / "whole")
    cut_down(tmp_path / "whole", 3, tmp_path / "cut")
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["layer_types"] == kinds[:3]


@pytest.mark.parametrize("layers", [1, 2])
def test_encoder(tiny_encoder, tmp_path, layers):
    cut_down(tiny_encoder, layers, tmp_path)
    assert shape_of(tmp_path)[0] == layers
