"""The causal language model: the base with its own output embedding, and the logits it gives."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.cache_utils import DynamicLayer

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.models.attention import BLOCKED
from llmclf_core.models.base import Base, load_pretrained

SHARED_PREFIX = "sdpa_shared_prefix"
"""An attention of our own: sdpa, that may also be told that rows share a prefix."""

_MASKABLE = ("eager", "sdpa", BLOCKED, SHARED_PREFIX)


def load_causal(base: Base, config: BaseModelConfig, dtype: torch.dtype) -> Any:
    """Load the decoder with its language-model head, frozen, on this process's device.

    Arguments as for :func:`llmclf_core.models.base.load_backbone`.

    Raises:
        UserError: for weights that transformers cannot load, or that lack a part of the model (an
            encoder, a backbone saved without its head).
    """
    model, info = load_pretrained(
        AutoModelForCausalLM, base, config, dtype, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"base model {base.source} is no whole causal language model: its weights lack "
            f"{', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}; instruct needs a decoder "
            "saved with its language-model head"
        )
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.eval()


def plain_attention(model: Any) -> bool:
    """Whether every layer attends to all that its mask lets through, whatever the distance.

    Only then may a batch's mask be drawn by hand, and keys and values be computed beforehand.
    Sliding windows, chunks, linear attention, distance biases (ALiBi) and kernels that take no mask
    need the ordinary way.

    Args:
        model: a transformers causal language model, with or without an adapter.
    """
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    config = plain.config.get_text_config(decoder=True)
    layers = DynamicCache(config=config).layers
    takes = inspect.signature(plain.forward).parameters
    return (
        config._attn_implementation in _MASKABLE
        and "position_ids" in takes
        and all(type(layer) is DynamicLayer for layer in layers)
        and not getattr(config, "alibi", False)
        and "local" not in getattr(config, "attention_layers", ())  # GPT-Neo's sliding window
    )


def vocabulary(model: Any) -> int:
    """Number of logits at a position."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    return int(plain.config.get_text_config(decoder=True).vocab_size)
