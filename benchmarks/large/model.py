"""A decoder of a given shape with random weights: nothing is downloaded, nothing is learnt."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    },
}
"""``8b``: that of Llama 3.1 8B (arXiv 2407.21783, table 3)."""

_SCALE = 0.02


def random_decoder(shape: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A causal language model whose layers' weights are NF4 with double quantisation.

    Made weight by weight on the device, so that the whole never lies anywhere un-quantised.

    Args:
        shape: a key of :data:`SHAPES`.
        dtype: compute type, and that of embeddings and norms.
        device: where it goes.

    Returns:
        A ``LlamaForCausalLM`` without gradients; as transformers makes it, its output embedding is
        not quantised.
    """
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, dtype=dtype)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(dtype)
    rotary = type(model.model.rotary_emb)(config).to(device)
    model.model.rotary_emb = rotary  # its buffers are computed, not stored
    output = model.get_output_embeddings()
    for parent, name, module in _parts(model):
        if isinstance(module, nn.Linear) and module is not output:
            setattr(parent, name, _quantized(module, dtype, device))
    for module in model.modules():
        _fill(module, dtype, device)
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.eval()


def _parts(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    return [(p, name, m) for p in list(model.modules()) for name, m in p.named_children()]


def _quantized(linear: nn.Linear, dtype: torch.dtype, device: torch.device) -> Linear4bit:
    new = Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=False,
        compute_dtype=dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    weight = torch.randn(linear.weight.shape, dtype=dtype, device=device) * _SCALE
    new.weight = Params4bit(
        weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=new
    ).to(device)
    return new


def _fill(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give a module's own weights random values; norms are one."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        if parameter.is_meta:
            values = torch.ones(parameter.shape, dtype=dtype, device=device)
            if parameter.ndim > 1:
                values = torch.randn(parameter.shape, dtype=dtype, device=device) * _SCALE
            setattr(module, name, nn.Parameter(values, requires_grad=False))


def layer_parameters(shape: str) -> int:
    """Parameters that multiply every token: all but embeddings, norms aside."""
    sizes = SHAPES[shape]
    hidden, mlp = sizes["hidden_size"], sizes["intermediate_size"]
    keys = hidden * sizes["num_key_value_heads"] // sizes["num_attention_heads"]
    return sizes["num_hidden_layers"] * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * mlp)
