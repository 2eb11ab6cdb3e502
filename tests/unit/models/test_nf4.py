"""NF4 weights stay as they were quantised, on any processor."""

import pytest
import torch

from llmclf_core.config import BaseModelConfig
from llmclf_core.models.base import load_backbone, resolve


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_without_gradients_leaves_the_next_training_step_as_it_is(tiny_base, dtype):
    config = BaseModelConfig(source=str(tiny_base), quantization="nf4")
    model = load_backbone(resolve(config.source), config, dtype)
    before = {name: p.clone() for name, p in model.named_parameters()}
    wanted = gradient(model, dtype)
    assert wanted.abs().max() > 0
    with torch.inference_mode():
        model.eval()(input_ids=torch.randint(5, 50, (1, 9)))
    assert torch.equal(gradient(model, dtype), wanted)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def gradient(model, dtype):
    torch.manual_seed(0)
    states = torch.randn(2, 9, model.config.hidden_size).to(dtype).requires_grad_()
    hidden = model.train()(inputs_embeds=states).last_hidden_state
    (grad,) = torch.autograd.grad(hidden[..., 0].sum(), states)
    return grad
