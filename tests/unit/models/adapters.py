"""Small models with adapters that do something, and what a pass through them gives."""

import torch
from peft.tuners.lora import LoraLayer

from llmclf_core.config import BaseModelConfig, LoraConfig
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.lora import add_adapter

IDS = torch.arange(66).view(2, 33) % 45 + 5


def adapt(backbone, **config):
    """With an adapter that does something."""
    model = add_adapter(backbone, LoraConfig(rank=3, alpha=6, **config), "base")
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.05)
    return model.train()


def loaded(base, dtype=torch.float32, quantization="none", **config):
    of_base = BaseModelConfig(source=str(base), quantization=quantization)
    backbone = load_backbone(resolve(of_base.source), of_base, dtype)
    return adapt(backbone, **({"dropout": 0.0} | config))


def layers(model):
    return [m for m in model.modules() if isinstance(m, LoraLayer)]


def as_peft_has_it(model):
    for layer in layers(model):
        layer.lora_variant.clear()
        layer.cast_input_dtype_enabled = True


def run(model, seed=3):
    torch.manual_seed(seed)
    hidden = model(input_ids=IDS).last_hidden_state
    model.zero_grad()
    (hidden.float() * torch.randn(hidden.shape)).sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return hidden.detach(), grads


def distance(found, wanted):
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()
