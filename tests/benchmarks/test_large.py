"""The measurement of a large model, on a shape that a CPU bears."""

import sys

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

from benchmarks.large.__main__ import _arguments, setups
from benchmarks.large.measure import Setup, measure
from benchmarks.large.model import layer_parameters, random_decoder


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return random_decoder("tiny", torch.float32, torch.device("cpu"))


def test_layers_are_nf4_and_nothing_is_left_empty(decoder):
    layers = [m for m in decoder.model.layers.modules() if isinstance(m, nn.Linear)]
    assert {type(m) for m in layers} == {Linear4bit}
    assert {m.weight.quant_type for m in layers} == {"nf4"}
    assert all(m.weight.quant_state.nested for m in layers)
    tensors = [*decoder.parameters(), *decoder.buffers()]
    assert not any(t.is_meta for t in tensors)
    logits = decoder(input_ids=torch.tensor([[1, 2, 3]])).logits
    assert logits.isfinite().all()
    assert logits.std() > 0


def test_parameters_are_those_of_the_layers(decoder):
    layers = [m for m in decoder.model.layers.modules() if isinstance(m, nn.Linear)]
    assert layer_parameters("tiny") == sum(m.in_features * m.out_features for m in layers)


@pytest.mark.parametrize("approach", ["head", "instruct"])
def test_steps_of_the_loop_are_measured(approach):
    training = {"gradient_checkpointing": True, "learning_rate": 1e-3}
    found = measure(Setup("tiny", approach, 12, 2, "float32", 2, 3, training))
    assert 0 < found["low"] <= found["tokens_per_second"] <= found["high"]
    share = 4 * layer_parameters("tiny") * found["tokens_per_second"]
    share /= found["ceiling_tflops"] * 1e12
    assert found["matmul_share"] == pytest.approx(share, abs=0.01 + 0.05 * share)
    assert found["peak_memory_gb"] > 0.1


def test_every_length_has_the_same_tokens_in_a_batch(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["large", "--tokens", "64", "--lengths", "16", "100"])
    made = [(s.approach, s.length, s.batch) for s in setups(_arguments())]
    assert made == [("head", 16, 4), ("head", 100, 1), ("instruct", 16, 4), ("instruct", 100, 1)]
