"""Root-mean-square normalisation on processors in half the passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmclf_core.processes import on_cpu

_EPSILONS = ("variance_epsilon", "eps")
"""Where transformers' classes keep it."""
_DTYPES = (torch.float32, torch.bfloat16)
"""Of inputs, whatever the weights' is; classes differ in what they give then."""


def use_fast_norms(model: nn.Module) -> None:
    """On a processor, let a transformers model's layers that are :class:`RmsNorm`, as Llama's are,
    compute by it; others that bear the name (Gemma adds one to its weights) stay."""
    if not on_cpu():
        return
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and _computes_the_same(module):
            module.epsilon = _epsilon(module)
            module.__class__ = RmsNorm


def _epsilon(module: nn.Module) -> Any:
    return next((getattr(module, name) for name in _EPSILONS if hasattr(module, name)), None)


@torch.no_grad()
def _computes_the_same(module: nn.Module) -> bool:
    weight: object = getattr(module, "weight", None)
    epsilon = _epsilon(module)
    if not isinstance(weight, Tensor) or weight.dim() != 1 or not isinstance(epsilon, float):
        return False
    # Of the epsilon's size as well, where it matters.
    sizes = torch.tensor([1.0, 100.0, epsilon**0.5]).unsqueeze(1)
    some = torch.sin(torch.arange(1.0, 1.0 + len(weight))) * sizes
    try:
        return all(_alike(module, some.to(dtype), weight, epsilon) for dtype in _DTYPES)
    except (RuntimeError, TypeError, ValueError):
        return False


def _alike(module: nn.Module, x: Tensor, weight: Tensor, epsilon: float) -> bool:
    theirs, ours = module(x), rms_norm(x, weight, epsilon)
    rounding = 4 * max(torch.finfo(x.dtype).eps, torch.finfo(weight.dtype).eps)
    same = theirs.dtype == ours.dtype
    return same and torch.allclose(ours, theirs, rtol=rounding, atol=rounding)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · w (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    weight: Tensor
    epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, width) to the same shape and dtype."""
        return rms_norm(hidden_states, self.weight, self.epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """As :class:`RmsNorm`; means and factors are float32, and rounding is that of transformers.

    Args:
        x: (…, width).
        weight: (width,).
        epsilon: added to the mean square.

    Returns:
        Shape of ``x``, dtype of both together.
    """
    result: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return result


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        factor = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, factor)
        result: Tensor = (wide * factor).to(x.dtype) * weight
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, factor = ctx.saved_tensors
        wide, grad = x.float(), grads[0].float()
        of_x = of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (wide * factor).mul_(grad).flatten(0, -2).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            # With n = factor · x: dx = factor · (dn - n · mean(n · dn)).
            grad = grad * weight.float()
            mean = torch.linalg.vecdot(grad, wide).unsqueeze(-1).div_(x.shape[-1])
            of_x = grad.addcmul_(wide, mean.mul_(factor.square()), value=-1)
            of_x = of_x.mul_(factor).to(x.dtype)
        return of_x, of_weight, None
