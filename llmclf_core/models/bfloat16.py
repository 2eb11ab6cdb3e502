"""Linear layers in bfloat16 for processors that have no instructions for it.

There PyTorch is several times slower in a forward pass, and tens of times in a backward pass, than
in float32. Products of bfloat16 numbers are exact in float32, in which hardware for them sums, too:
widening both factors and rounding the result computes the same, at float32's speed. Weights keep
their half size; those of one layer at a time are widened.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from llmclf_core.processes import on_cpu


def native_bfloat16() -> bool:
    """Whether this process's device multiplies bfloat16 itself."""
    if on_cpu():
        return _processor_multiplies()
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@cache  # each call takes as long as a small product
def _processor_multiplies() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


def product_dtype(x: Tensor) -> torch.dtype:
    """In which a matrix is multiplied: its own, but for bfloat16 that is not native."""
    emulated = x.dtype == torch.bfloat16 and not native_bfloat16()
    return torch.float32 if emulated else x.dtype


def widen_products(model: nn.Module) -> None:
    """Let a model's linear layers in bfloat16 multiply in float32; parameters stay as they are."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == torch.bfloat16:
            module.__class__ = WideLinear


class WideLinear(nn.Linear):
    """A linear layer in bfloat16 whose products are summed in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) to (…, out), both bfloat16."""
        if not input.dtype == self.weight.dtype == torch.bfloat16:
            return super().forward(input)
        product: Tensor = _Product.apply(input, self.weight)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    """x Wᵀ; what is kept for the backward pass is in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        with torch.autocast("cpu", enabled=False):  # it would narrow both again
            return (x.float() @ weight.float().T).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].float()
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = (grad @ weight.float()).to(grads[0].dtype)
        if ctx.needs_input_grad[1]:
            rows = x.float().reshape(-1, x.shape[-1])
            of_weight = (grad.reshape(len(rows), -1).T @ rows).to(weight.dtype)
        return of_x, of_weight
