"""A checkpoint has to hold all of an encoder; only what the head brings may be fresh."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import resolve
from llmclf_core.models.encoder import load_encoder

LABELS = LabelSpace(("money", "music", "sport"), "single")


def load(base, frozen=False, **options):
    config = BaseModelConfig(source=str(base), dtype="float32", **options)
    return load_encoder(resolve(str(base)), config, LABELS, 0, frozen)


@pytest.fixture
def changed(tiny_encoder, tmp_path):
    """Makes a copy of the tiny encoder with other weights or another configuration."""

    def make(change=lambda name, tensor: {name: tensor}, **settings):
        base = shutil.copytree(tiny_encoder, tmp_path / "base")
        (weights,) = base.glob("*.safetensors")
        tensors = {}
        for name, tensor in load_file(weights).items():
            tensors |= change(name, tensor)
        save_file(tensors, weights, metadata={"format": "pt"})
        file = base / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
        return base

    return make


def renamed(name, tensor):
    return {name.replace("encoder.layer", "encoder.block"): tensor}


def without_one(name, tensor):
    return {} if name.endswith("layer.1.output.dense.weight") else {name: tensor}


@pytest.mark.parametrize("frozen", [False, True])
def test_weights_under_other_names(changed, frozen):
    message = r"lacks 32 of .* \(bert\.encoder\.layer\.0\.\S+ is one\); give a whole"
    with pytest.raises(UserError, match=message):
        load(changed(renamed), frozen)


def test_one_weight_is_missing(changed):
    with pytest.raises(UserError, match=r"lacks 1 of .*layer\.1\.output\.dense\.weight"):
        load(changed(without_one), frozen=True)


def test_four_bits_are_checked_too(changed):
    with pytest.raises(UserError, match="lacks 1 of"):
        load(changed(without_one), frozen=True, quantization="nf4")


def test_configuration_of_another_model(changed):
    with pytest.raises(UserError, match=r"lacks 6 of .* in another shape"):
        load(changed(intermediate_size=96))


def test_layer_that_the_checkpoint_does_not_have(changed):
    with pytest.raises(UserError, match=r"lacks 16 of .*layer\.2"):
        load(changed(num_hidden_layers=3))


@pytest.mark.parametrize("kind", [AutoModel, AutoModelForMaskedLM])
def test_whole_checkpoints_with_and_without_a_pooler(tiny_encoder, tmp_path, kind):
    base = shutil.copytree(tiny_encoder, tmp_path / "base")
    saved = kind.from_pretrained(tiny_encoder)
    saved.save_pretrained(base)
    encoder = load(base)
    fresh = {name.rpartition(".")[0] for name in encoder.head}
    assert fresh == {"classifier"} | ({"bert.pooler.dense"} if kind is not AutoModel else set())
    loaded = encoder.backbone.encoder.layer[1].output.dense.weight
    assert torch.equal(loaded, saved.base_model.encoder.layer[1].output.dense.weight)
