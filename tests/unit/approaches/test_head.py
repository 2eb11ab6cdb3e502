"""What is the head approach's own; the rest is in tests/conformance."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmclf_core.approaches.base import Calibration
from llmclf_core.approaches.based import read_weights
from llmclf_core.approaches.head import HeadClassifier, hidden_size
from llmclf_core.config import BaseModelConfig, HeadConfig, LoraConfig, TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.tokens.encode import Encoder


@pytest.fixture
def build(tiny_base):
    """Makes a classifier of random weights, the same ones each time."""

    def build(
        names=("a", "b", "c"), task="single", lora=None, head=None, calibration=None, **tokens
    ):
        base = resolve(str(tiny_base))
        config = BaseModelConfig(source=str(tiny_base), dtype="float32")
        head = HeadConfig(**(head or {}))
        torch.manual_seed(0)
        backbone = load_backbone(base, config, torch.float32)
        network = ClassificationHead(hidden_size(backbone), len(names), head)
        adapted = add_adapter(backbone, LoraConfig(rank=4, **(lora or {})), str(tiny_base))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        encoder = Encoder(tiny_base, TokenizeConfig(**tokens))
        space = LabelSpace(tuple(names), task)
        model = HeadModel(adapted, network).eval()
        return HeadClassifier(model, encoder, space, base, config, head, calibration)

    return build


def test_equal_classifiers_have_equal_fingerprints(build):
    assert build().fingerprint == build().fingerprint


def nudge(classifier, part):
    parameters = dict(classifier.model.named_parameters())
    name = next(n for n in parameters if part in n)
    with torch.no_grad():
        parameters[name].view(-1)[2] += 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"names": ("a", "c", "b")},
        {"task": "multi"},
        {"lora": {"alpha": 17}},
        {"lora": {"rslora": True}},
        {"lora": {"targets": ["q_proj"]}},
        {"head": {"pooling": "mean"}},
        {"calibration": Calibration(1.1, (0.5,) * 3)},
        {"calibration": Calibration(1.0, (0.5, 0.4, 0.5))},
        {"max_length": 100},
        {"truncation_side": "left"},
    ],
    ids=str,
)
def test_whatever_changes_an_answer_changes_the_fingerprint(build, options):
    assert build(**options).fingerprint != build().fingerprint


@pytest.mark.parametrize("part", ["lora_A", "lora_B", "head.out.weight", "head.out.bias"])
def test_one_weight_changes_the_fingerprint(build, part):
    classifier = build()
    nudge(classifier, part)
    assert classifier.fingerprint != build().fingerprint


def test_logits_are_those_of_the_model_on_each_text_alone(build):
    classifier = build(max_length=6)
    texts = ["match goal team player score", "", "bank", "song band album tour singer guitar chart"]
    found = classifier.predict_logits(texts, batch_size=3)
    for row, encoded in zip(found, classifier.encoder.encode(texts), strict=True):
        ids = torch.tensor([encoded.ids])
        assert ids.shape[1] <= 6
        with torch.inference_mode():
            expected = classifier.model(ids, torch.ones_like(ids))[0]
        np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("texts", ["one text", ["a", None]])
def test_what_is_not_text(build, texts):
    with pytest.raises(UserError, match=r"one text was given|not a string but NoneType"):
        build().predict(texts)


@pytest.mark.parametrize("damage", ["gone", "cut", "shape", "lacking"])
def test_damaged_head(tmp_path, damage):
    head = ClassificationHead(8, 3, HeadConfig())
    path = tmp_path / "head.safetensors"
    save_file(head.state_dict(), path)
    read_weights(path, ClassificationHead(8, 3, HeadConfig()).state_dict())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    elif damage == "shape":
        save_file(ClassificationHead(9, 3, HeadConfig()).state_dict(), path)
    else:
        save_file({"out.weight": load_file(path)["out.weight"]}, path)
    with pytest.raises(UserError, match=r"cannot read the head weights .*head\.safetensors"):
        read_weights(path, head.state_dict())


def test_classifier_on_a_full_disk(build, small_disk):
    with pytest.raises(UserError, match=r"cannot write .*/c: the disk is full"):
        build().save(small_disk / "c")
    assert not list(small_disk.iterdir())
