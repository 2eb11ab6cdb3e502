"""PyTorch's compiler, for the layers of a transformer."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from llmclf_core.errors import UserError
from llmclf_core.processes import device

log = logging.getLogger(__name__)

_BACKEND = "inductor"
_GRAPHS = 32
"""The layer is compiled anew for the first layer of all (its input needs no gradient), with and
without a mask, for one row and for several, and without gradients."""


@contextmanager
def compiled_layers(model: nn.Module) -> Iterator[None]:
    """Inside, the model's layers run compiled; results are the same to rounding.

    Only layers, and in place: they share their code, so that one compilation serves them all, and
    parameters keep their names. It happens in the first passes, and again when something other
    than the lengths of the texts changes.

    Args:
        model: holds a transformers model.

    Raises:
        UserError: where the compiler does not work, or the model has no layers that it takes.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(
            "training.compile: this base model's layers cannot be compiled; leave it out"
        )
    os.environ.pop("TORCHDYNAMO_DISABLE", None)  # a step sets it, for a faster start
    torch._dynamo.config.disable = False
    torch._dynamo.config.recompile_limit = max(_GRAPHS, torch._dynamo.config.recompile_limit)
    _try()
    log.info("layers are compiled in the first passes, which therefore take longer")
    for layer in layers:
        layer.compile(dynamic=True, backend=_BACKEND)
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None  # what nn.Module.compile has set


def _try() -> None:
    try:
        torch.compile(lambda x: x + 1, backend=_BACKEND)(torch.zeros(2, device=device()))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"training.compile: PyTorch's compiler does not work here ({reason}); it needs a C++ "
            "compiler (g++) and Python's headers. Install them, or leave it out"
        ) from None
