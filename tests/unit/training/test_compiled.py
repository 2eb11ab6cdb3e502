"""Layers that PyTorch's compiler runs give what they give otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, LlamaConfig

from llmclf_core.config import (
    BaseModelConfig,
    EncoderTrainingConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.errors import UserError
from llmclf_core.models import compiled
from llmclf_core.models.compiled import compiled_layers
from llmclf_core.models.lora import add_adapter
from llmclf_core.processes import device
from llmclf_core.steps.finetune_encoder import EncoderJob
from llmclf_core.steps.finetune_head import HeadJob
from llmclf_core.steps.finetune_instruct import InstructJob
from llmclf_core.tokens.tokenize import tokenize
from tests.conftest import missing_service

ROOT = Path(__file__).parents[3]
LORA = LoraConfig(rank=4, dropout=0.0)


def adapted(layers=3):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = add_adapter(AutoModel.from_config(config).requires_grad_(False), LORA, "base")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.to(device()).train()


def gradients(model, length):
    ids = torch.arange(2 * length).view(2, length).to(device()) % 50
    model.zero_grad()
    hidden = model(input_ids=ids, use_cache=False).last_hidden_state
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    (hidden * weights.to(device())).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_the_compiler_gives_the_same_gradients_at_any_length():
    torch._dynamo.reset()
    model = adapted(layers=1)
    plain = [gradients(model, length) for length in (7, 12)]
    try:
        with compiled_layers(model):
            found = [gradients(model, length) for length in (7, 12)]
    except UserError as error:
        missing_service(str(error))
    for a, b in zip(plain, found, strict=True):
        assert (a - b).norm() <= 1e-4 * a.norm()


def test_all_layers_share_what_is_compiled(monkeypatch):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "_BACKEND", backend)
    torch._dynamo.reset()
    model = adapted()
    with compiled_layers(model):
        graphs.clear()
        gradients(model, 7)
        # The first layer's input needs no gradient; those of the second and third do.
        assert len(graphs) == 2
        gradients(model, 12)
        assert len(graphs) == 2
    gradients(model, 3)
    assert len(graphs) == 2
    assert all(module._compiled_call_impl is None for module in model.modules())


IN_A_STEP = """
from llmclf_core.steps.process import step

with step("a training"):
    import torch
    from llmclf_core.models import compiled
    from tests.unit.training.test_compiled import adapted, gradients

    graphs = []
    compiled._BACKEND = lambda graph, _: graphs.append(graph) or graph.forward
    model = adapted()
    with compiled.compiled_layers(model):
        graphs.clear()
        gradients(model, 7)
    print(len(graphs))
"""


def test_takes_effect_in_a_step_which_starts_without_the_compiler():
    environment = {k: v for k, v in os.environ.items() if k != "TORCHDYNAMO_DISABLE"}
    found = subprocess.run(
        [sys.executable, "-c", IN_A_STEP],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (found.returncode, found.stdout.split()) == (0, ["2"]), found.stderr


def head(tokens, base):
    return HeadJob(tokens, base, LORA, HeadConfig(dropout=0), TrainingConfig(), 0)


def instruct(tokens, base):
    return InstructJob(tokens, base, LORA, INSTRUCT, TrainingConfig(), 0)


def encoder(tokens, base):
    return EncoderJob(tokens, base, LORA, EncoderTrainingConfig(), 0)


INSTRUCT = InstructConfig(prompt="These are texts about {labels}: {text}\nThis one is about")
ROWS = np.arange(3)


@pytest.mark.parametrize("make", [head, instruct, encoder])
def test_losses_of_trainings_are_the_same(
    make, corpus_path, tiny_base, tmp_path, monkeypatch, request
):
    monkeypatch.setattr(compiled, "_BACKEND", "eager")  # all but making machine code
    torch._dynamo.reset()
    base = request.getfixturevalue("tiny_encoder") if make is encoder else tiny_base
    config = BaseModelConfig(source=str(base), dtype="float32")
    prompt = INSTRUCT if make is instruct else None
    tokenize(corpus_path, config, TokenizeConfig(max_length=128), tmp_path / "tokens", prompt)
    job = make(tmp_path / "tokens", config)
    torch.manual_seed(0)
    model = job.build().eval()  # no dropout, of which each pass draws its own
    with job.shortcut(model) as job.frozen:
        task = job.task(model)
        plain = task.loss(model, ROWS)
        with compiled_layers(model):
            found = task.loss(model, ROWS)
    torch.testing.assert_close(plain, found, rtol=1e-5, atol=1e-5)


def test_a_compiler_that_does_not_work_is_told(monkeypatch):
    def backend(graph, _):
        raise RuntimeError("no g++")

    monkeypatch.setattr(compiled, "_BACKEND", backend)
    with (
        pytest.raises(UserError, match=r"training\.compile: .* does not work here .*no g\+\+"),
        compiled_layers(adapted()),
    ):
        pass


def test_a_model_without_layers_that_compile():
    with (
        pytest.raises(UserError, match="cannot be compiled; leave it out"),
        compiled_layers(torch.nn.Linear(2, 2)),
    ):
        pass
