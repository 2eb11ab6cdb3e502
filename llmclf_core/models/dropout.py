"""Dropout that does not take as long on a CPU as the matrix product behind it.

Where few elements are dropped, the gaps between them are drawn; else 15 random bits an element.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_RARE = 0.1
"""Below this, drawing gaps is faster: it takes half the time of bits at 0.05, the same here, and
three times as long at 0.3 (three million elements, AVX-512)."""
_BITS = 15
_PER_NUMBER = 4
"""Elements that a random number of 64 bits serves."""
MASKED = {2: torch.int16, 4: torch.int32}
"""Integers of the size of a number, in bytes, of the numbers that can be masked."""


class Dropout(nn.Dropout):
    """As torch's; by random bits, p is rounded to 1/32768, but not to 1.

    Elsewhere than on a CPU, and in compiled layers, it is torch's own.
    """

    def mask(self, x: Tensor) -> tuple[Tensor | None, float]:
        """For an input on a CPU: int16 of its shape, all bits where an element is kept and none
        where it is dropped, or None when nothing is; and the factor that makes up for it."""
        all_bits = 1 << _BITS
        p = self.p if self.p < _RARE else min(round(self.p * all_bits), all_bits - 1) / all_bits
        if not self.training or not p:
            return None, 1.0
        mask = (_by_gaps if p < _RARE else _by_bits)(x.numel(), p)
        return mask.view(x.shape), 1 / (1 - p)

    def kept(self, x: Tensor) -> tuple[Tensor, float]:
        """Any shape: the elements that are kept, zero in place of the others, and the factor that
        makes up for these."""
        if not self._is_ours(x):
            return super().forward(x), 1.0
        mask, factor = self.mask(x)
        kept: Tensor = x if mask is None else _Masked.apply(x, mask)  # type: ignore[no-untyped-call]
        return kept, factor

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        kept, factor = self.kept(x)
        return kept * factor

    def _is_ours(self, x: Tensor) -> bool:
        return (
            self.training
            and self.p < 1
            and x.device.type == "cpu"
            and x.element_size() in MASKED
            and not torch.compiler.is_compiling()
        )


def _by_bits(n: int, p: float) -> Tensor:
    """int16, (n,): all bits where an element is kept, none where not."""
    dropped = round(p * (1 << _BITS))
    bits = _random(-(-n // _PER_NUMBER)).view(torch.int16)[:n]
    # Uniform numbers of 15 bits; the difference is negative where they are at least ``dropped``.
    bits.bitwise_and_((1 << _BITS) - 1).neg_().add_(dropped - 1)
    return bits.bitwise_right_shift_(_BITS)


def _by_gaps(n: int, p: float) -> Tensor:
    """As :func:`_by_bits`. From one dropped element to the next it is a geometric number, drawn by
    inversion: floor(log(u) / log(1 - p)) + 1 with u uniform (Devroye 1986, chapter X.2)."""
    expected = n * p
    draws = int(expected + 8 * math.sqrt(expected)) + 16  # too few for n once in 10¹⁴ masks
    numbers = _random(-(-draws // 2)).view(torch.int32)[:draws].bitwise_and_((1 << 24) - 1)
    uniform = numbers.float().add_(0.5).mul_(2.0**-24)
    gaps = uniform.log_().mul_(1 / math.log1p(-p)).clamp_(max=n).to(torch.int32).add_(1)
    places = gaps.cumsum(0).sub_(1)
    places = places[: int(torch.searchsorted(places, n))]
    return torch.full((n,), -1, dtype=torch.int16).index_fill_(0, places, 0)


def _random(n: int) -> Tensor:
    """int64, (n,), all bits random."""
    seed = int(torch.randint(1 << 62, ()))  # torch's generator decides, and is in checkpoints
    return torch.from_numpy(np.random.SFC64(seed).random_raw(n)).view(torch.int64)


class _Masked(torch.autograd.Function):
    """Kept elements, and zero in place of the others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return zero_where_dropped(x, mask)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return zero_where_dropped(grads[0], mask), None


def zero_where_dropped(x: Tensor, mask: Tensor) -> Tensor:
    """A tensor and its :meth:`Dropout.mask`, or one of this shape, to the elements kept."""
    integer = MASKED[x.element_size()]
    return (x.view(integer) & mask.to(integer)).view(x.dtype)
