"""Dropout that does not take as long on a CPU as the matrix product behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_PARTS = 1 << 16
"""Values of 16 random bits."""
_PER_NUMBER = 4
"""Elements that a random number of 64 bits serves."""


class Dropout(nn.Dropout):
    """As torch's, by 16 random bits an element, and not a float's; p is rounded to 1/65536.

    Elsewhere than on a CPU, and in compiled layers, it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        dropped = round(self.p * _PARTS)
        if not self.training or x.device.type != "cpu" or not 0 < dropped < _PARTS:
            return super().forward(x)
        if torch.compiler.is_compiling():
            return super().forward(x)
        keep = _bits(x) >= dropped - _PARTS // 2
        result: Tensor = _Masked.apply(x, keep, _PARTS / (_PARTS - dropped))  # type: ignore[no-untyped-call]
        return result


def _bits(x: Tensor) -> Tensor:
    """16 random bits an element, int16, by torch's own generator."""
    numbers = torch.empty(-(-x.numel() // _PER_NUMBER), dtype=torch.int64)
    numbers.random_(-(2**63), None)
    return numbers.view(torch.int16)[: x.numel()].view(x.shape)


class _Masked(torch.autograd.Function):
    """Kept elements, times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return (x * keep).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return (grads[0] * keep).mul_(ctx.scale), None, None
