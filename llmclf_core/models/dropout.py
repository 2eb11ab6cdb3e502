"""Dropout that does not take as long on a CPU as the matrix product behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_BITS = 15
_PER_NUMBER = 4
"""Elements that a random number of 64 bits serves."""
_INTEGERS = {2: torch.int16, 4: torch.int32}
"""Of the size of a number, in bytes."""


class Dropout(nn.Dropout):
    """As torch's, by 15 random bits an element, and not a float's; p is rounded to 1/32768.

    Elsewhere than on a CPU, and in compiled layers, it is torch's own.

    Layers that read the same input one after the other, as the projections of an attention do,
    share its mask if they share this module.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self._last: tuple[Tensor, int, Tensor] | None = None
        """The last input, its version (it may be changed in place), and what was kept of it."""

    def kept(self, x: Tensor) -> tuple[Tensor, float]:
        """Any shape: the elements that are kept, zero in place of the others, and the factor that
        makes up for these."""
        dropped = round(self.p * (1 << _BITS))
        if not self._is_ours(x) or not 0 < dropped < 1 << _BITS:
            self._last = None
            return super().forward(x), 1.0
        if self._last is None or self._last[0] is not x or self._last[1] != x._version:
            kept = _Masked.apply(x, _mask(x, dropped))  # type: ignore[no-untyped-call]
            self._last = x, x._version, kept
        return self._last[2], (1 << _BITS) / ((1 << _BITS) - dropped)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        kept, factor = self.kept(x)
        return kept * factor

    def _is_ours(self, x: Tensor) -> bool:
        return (
            self.training
            and x.device.type == "cpu"
            and not x.is_inference()  # has no version
            and x.element_size() in _INTEGERS
            and not torch.compiler.is_compiling()
        )


def _mask(x: Tensor, dropped: int) -> Tensor:
    """int16: all bits where an element is kept, none where not."""
    seed = int(torch.randint(1 << 62, ()))  # torch's generator decides, and is in checkpoints
    numbers = np.random.SFC64(seed).random_raw(-(-x.numel() // _PER_NUMBER))
    bits = torch.from_numpy(numbers).view(torch.int16)[: x.numel()].view(x.shape)
    # Uniform numbers of 15 bits; the difference is negative where they are at least ``dropped``.
    bits.bitwise_and_((1 << _BITS) - 1).neg_().add_(dropped - 1)
    return bits.bitwise_right_shift_(_BITS)


class _Masked(torch.autograd.Function):
    """Kept elements, and zero in place of the others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return _and(x, mask)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return _and(grads[0], mask), None


def _and(x: Tensor, mask: Tensor) -> Tensor:
    integer = _INTEGERS[x.element_size()]
    return (x.view(integer) & mask.to(integer)).view(x.dtype)
