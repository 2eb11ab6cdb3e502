"""Padding that a model need not be told of."""

from __future__ import annotations

from torch import Tensor, nn


def causal(model: nn.Module) -> bool:
    """Whether no attention of a transformers model looks ahead, as far as its layers tell."""
    told = [m.is_causal for m in model.modules() if hasattr(m, "is_causal")]
    return bool(told) and all(told)


def needed_mask(is_causal: bool, mask: Tensor) -> Tensor | None:
    """The attention mask, or None where padding cannot reach a real token.

    Causal attention never looks ahead, so it needs no mask against padding on the right; without
    one it runs by faster kernels, which skip the half that nobody sees. Whatever the model gives
    for the padding itself is then of no meaning.

    Args:
        is_causal: of the model, see :func:`causal`.
        mask: (batch, length), 1 for real tokens.
    """
    return None if is_causal and bool(mask[:, 0].all()) else mask
