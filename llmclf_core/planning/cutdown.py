"""A base model cut down to a few layers, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmclf_core.models.base import checkpoint_class


def shape_of(directory: Path) -> tuple[int, int]:
    """How many layers a model has, and how wide its hidden states are, by its ``config.json``."""
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    text = config.get_text_config(decoder=True)
    return int(text.num_hidden_layers), int(text.hidden_size)


def cut_down(directory: Path, layers: int, output: Path) -> None:
    """Write a model as that of a directory, but with so few layers and random weights.

    Args:
        directory: holds ``config.json``.
        layers: how many are left, the lowest ones.
        output: gets configuration and safetensors, in the type of the whole model's.
    """
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    _shorten(config.get_text_config(decoder=True), layers)
    dtype = config.dtype or torch.float32
    kind = checkpoint_class(config, AutoModelForCausalLM)
    kind.from_config(config, dtype=dtype, trust_remote_code=False).save_pretrained(output)


def _shorten(config: Any, layers: int) -> None:
    total = config.num_hidden_layers
    config.num_hidden_layers = layers
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == total:  # one entry a layer, as layer_types
            setattr(config, name, value[:layers])
