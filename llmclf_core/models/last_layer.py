"""The feed-forward part of a decoder's last layer, only where its results are read.

Behind its attention a layer treats every token by itself. Of the last layer's results a head that
pools the last token reads one, and the loss of an answer a few: the others need not be computed.
What is read, and the gradients that flow from there, are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llmclf_core.models.lower import layers_of
from llmclf_core.models.padding import causal

_TOLERANCE = 0.05
"""Of the largest number: bfloat16 rounds, while a wrong place is far off."""


@dataclass
class _Reading:
    """Which tokens are read, (batch, length), bool; and whether the others are left out by now."""

    read: Tensor
    inside: bool = False


_READING: ContextVar[_Reading | None] = ContextVar("reading", default=None)


@contextmanager
def only_read_at(read: Tensor) -> Iterator[None]:
    """Inside, a pass need give final hidden states and logits at some tokens only.

    At the others they are of no meaning. Has no effect on a model that :func:`prepare` has left as
    it was, nor on layers that are compiled, or computed again in the backward pass.

    Args:
        read: (batch, length), bool; length is that of the pass's input.
    """
    token = _READING.set(_Reading(read))
    try:
        yield
    finally:
        _READING.reset(token)


def prepare(model: Any) -> None:
    """Let passes through a transformers decoder heed :func:`only_read_at`, if it changes nothing
    else; that is tried with a few tokens."""
    if not causal(model) or (layer := _last_layer(model)) is None:
        return
    handles = [
        layer.mlp.register_forward_pre_hook(partial(_take, layer)),
        layer.mlp.register_forward_hook(_put_back),
    ]
    if not _is_right(model):
        for handle in handles:
            handle.remove()


def at_places(places: Tensor, length: int) -> Tensor:
    """Token numbers, (batch, any), to which are meant, (batch, length), bool."""
    read = torch.zeros(len(places), length, dtype=torch.bool, device=places.device)
    return read.scatter_(1, places, True)


def _last_layer(model: Any) -> Any:
    layers = layers_of(model)
    return layers[-1] if layers and hasattr(layers[-1], "mlp") else None


def _take(layer: nn.Module, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    if torch.compiler.is_compiling() or getattr(layer, "gradient_checkpointing", False):
        return None
    reading = _READING.get()
    if reading is None or inputs[0].shape[:-1] != reading.read.shape:
        return None
    reading.inside = True
    return (inputs[0][reading.read].unsqueeze(0), *inputs[1:])


def _put_back(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    if torch.compiler.is_compiling():
        return None
    reading = _READING.get()
    if reading is None or not reading.inside:
        return None
    reading.inside = False
    whole = output.new_zeros(*reading.read.shape, output.shape[-1])
    whole[reading.read] = output[0]
    return whole


@torch.no_grad()
def _is_right(model: Any) -> bool:
    where = next(model.parameters()).device
    ids = torch.arange(8, device=where).view(2, 4)
    read = at_places(torch.tensor([[3], [1]], device=where), 4)
    try:
        whole = model(input_ids=ids, use_cache=False)[0][read]
        with only_read_at(read):
            found = model(input_ids=ids, use_cache=False)[0][read]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return bool((found - whole).abs().max() <= _TOLERANCE * whole.abs().max())
