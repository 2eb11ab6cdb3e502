"""From what rehearsals took to what the whole training takes: linear in the number of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np

_FEW, _WHOLE = 2, 6
"""Layers of the smaller rehearsal; and so few that they are rehearsed as they are."""
_WEIGHTS = 64e6
"""Weights that the larger rehearsal has more: two equal trainings differ by some 30 MB, which what
a layer takes has to stand out from."""


class Layers(NamedTuple):
    """Layers of a base: those below the lowest one that trains, and the rest."""

    frozen: int
    trained: int


@dataclass(frozen=True)
class Taken:
    """What a training took, or will take.

    Attributes:
        trained, base: parameters; of the whole model also where a few layers were rehearsed.
        load_memory, train_memory: largest resident set of the process, in bytes, until the model
            was there and from then on.
        load_gpu, train_gpu: the same of what torch had allocated on the GPU.
        load_seconds: until the model was there.
        token_seconds: training time a token, of an optimiser step.
        validation_seconds: time a token of a validation.
        frozen_seconds: time a token of computing the frozen layers once.
        around: tokens of prompt and answer in a row, on average.
    """

    trained: float
    base: float
    load_memory: float
    train_memory: float
    load_gpu: float
    train_gpu: float
    load_seconds: float
    token_seconds: float
    validation_seconds: float
    frozen_seconds: float
    around: float

    @property
    def memory(self) -> int:
        """Peak of the process, in bytes."""
        return int(max(self.load_memory, self.train_memory))

    @property
    def gpu(self) -> int:
        """Peak on the GPU, in bytes; 0 without one."""
        return int(max(self.load_gpu, self.train_gpu))


def rehearsed(layers: Layers, hidden: int) -> list[Layers]:
    """How many layers each rehearsal has, so that what a layer of either kind takes is known.

    At most half of them, and fewer of large layers.

    Args:
        layers: of the whole model.
        hidden: width of its hidden states.
    """
    low = Layers(*(n if n <= _WHOLE else _FEW for n in layers))
    more = math.ceil(_WEIGHTS / (12 * hidden**2))  # arXiv 2001.08361 counts so many in a layer

    def higher(n: int) -> int:
        return max(_WHOLE, min(_FEW + more, math.ceil(n / 2)))

    split = {kind: n for kind, n in layers._asdict().items() if n > _WHOLE}
    return [low, *(low._replace(**{kind: higher(n)}) for kind, n in split.items())]


def extrapolate(seen: Mapping[Layers, Taken], layers: Layers) -> Taken:
    """What all layers take: each figure is a constant and a share for each layer of either kind.

    Args:
        seen: what each of :func:`rehearsed` took, the smallest first.
        layers: of the whole model.
    """
    low, *more = seen
    figures = {at: np.array(astuple(taken), dtype=float) for at, taken in seen.items()}
    total = figures[low].copy()
    for at in more:
        kind = next(i for i, n in enumerate(at) if n != low[i])
        a_layer = (figures[at] - figures[low]) / (at[kind] - low[kind])
        total += np.maximum(a_layer, 0) * (layers[kind] - low[kind])  # below 0 is chance
    return Taken(*total.tolist())
