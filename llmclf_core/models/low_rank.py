"""A low-rank adapter's product, added to what its layer gives without a copy on the way."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor

from llmclf_core.models.bfloat16 import product_dtype
from llmclf_core.models.dropout import Dropout


class LowRank(LoraVariant):  # type: ignore[misc]
    """LoRA as PEFT has it, y + B A x · scale, computed in the type of the layer's input.

    PEFT widens inputs to the adapter's float32, multiplies there, scales and adds in passes of
    their own. Mixed precision multiplies in the input's type; parameters and their gradients stay
    float32.
    """

    @staticmethod
    def use(layer: LoraLayer) -> None:
        """Let a layer of PEFT's compute its adapter so."""
        layer.lora_variant["default"] = LowRank()
        layer.cast_input_dtype_enabled = False

    @staticmethod
    def forward(
        module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Input (…, in) and the layer's own result (…, out) to their sum, (…, out)."""
        down, up = module.lora_A[active_adapter].weight, module.lora_B[active_adapter].weight
        dropout, scale = module.lora_dropout[active_adapter], module.scaling[active_adapter]
        if torch.compiler.is_compiling() or x.dtype != result.dtype:
            product = dropout(x).to(down.dtype) @ down.T @ up.T
            added: Tensor = result + (product * scale).to(result.dtype)
            return added
        kept, factor = dropout.kept(x) if isinstance(dropout, Dropout) else (dropout(x), 1.0)
        if result._is_view():
            result = result.clone()
        added = _Added.apply(result, kept, down, up, scale * factor)  # type: ignore[no-untyped-call]
        return added

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """As PEFT's own."""
        delta: Tensor = module.get_delta_weight(active_adapter)
        return orig_weight + delta.to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        """As PEFT's own."""
        orig_weight.data += module.get_delta_weight(active_adapter).to(orig_weight.dtype)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """As PEFT's own."""
        delta: Tensor = module.get_delta_weight(active_adapter)
        return orig_weight - delta.to(orig_weight.dtype)


class _Added(torch.autograd.Function):
    """result += x Aᵀ Bᵀ · scale."""

    @staticmethod
    def forward(
        ctx: Any, result: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        dtype = product_dtype(x)
        ctx.dtypes, ctx.scale = (down.dtype, up.dtype), scale
        down, up = down.to(dtype), up.to(dtype)
        with torch.autocast("cpu", enabled=False):  # it would narrow some products, and not others
            low = (as_rows(x, dtype) @ down.T).mul_(scale)
            _add(result, low, up.T)
        ctx.mark_dirty(result)
        ctx.save_for_backward(x, down, up, low)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None]:
        x, down, up, low = ctx.saved_tensors
        grad = as_rows(grads[0], low.dtype)
        of_low = (grad @ up).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[1]:
            of_x = (of_low @ down).view(x.shape).to(x.dtype)
        of_down = (of_low.T @ as_rows(x, low.dtype)).to(ctx.dtypes[0])
        of_up = (grad.T @ low).to(ctx.dtypes[1])
        return grads[0], of_x, of_down, of_up, None


def as_rows(states: Tensor, dtype: torch.dtype) -> Tensor:
    """(…, width) to (rows, width)."""
    return states.reshape(-1, states.shape[-1]).to(dtype)


def _add(result: Tensor, low: Tensor, up: Tensor) -> None:
    """To (…, out) the product of (rows, rank) and (rank, out), in place."""
    if result.dtype == low.dtype and result.is_contiguous():
        result.view(-1, result.shape[-1]).addmm_(low, up)
    else:
        result += (low @ up).to(result.dtype).view(result.shape)
