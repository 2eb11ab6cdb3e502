"""The machine's own limit: matrix products of the model's sizes, and nothing else."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from benchmarks.fast.turns import Clock
from benchmarks.fast.work import Record, Work
from llmclf_core.models.bfloat16 import native_bfloat16

_TOKENS, _TOKENS_EMULATED = 2048, 32
_REPEATS = 5


def layer_parameters(base: Path) -> int:
    """Parameters of a model but for its embeddings."""
    model = _empty(base)
    embeddings = model.get_input_embeddings().weight.numel()
    return sum(p.numel() for p in model.parameters()) - int(embeddings)


def matmul_shapes(base: Path) -> list[tuple[int, int]]:
    """Inputs and outputs of the linear layers of one decoder layer."""
    model = _empty(base)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    one = linear[: len(linear) // model.config.num_hidden_layers]
    return [(m.in_features, m.out_features) for m in one]


def _empty(base: Path) -> Any:
    with torch.device("meta"):
        return AutoModel.from_config(AutoConfig.from_pretrained(base))


class Matmuls:
    """The matrix products of one decoder layer's forward pass over a batch of tokens.

    Attributes:
        operations: in one run, an addition and a multiplication being two.
    """

    def __init__(self, base: Path, dtype: torch.dtype) -> None:
        tokens = _TOKENS_EMULATED if _is_emulated(dtype) else _TOKENS
        self._factors = [
            (torch.randn(tokens, i).to(dtype), torch.randn(o, i).to(dtype))
            for i, o in matmul_shapes(base)
        ]
        self.operations = sum(2 * tokens * weight.numel() for _, weight in self._factors)

    @torch.inference_mode()
    def run(self) -> None:
        for x, weight in self._factors:
            nn.functional.linear(x, weight)

    def best(self) -> float:
        """Most operations a second among a few runs."""
        self.run()
        seconds = []
        for _ in range(_REPEATS):
            begun = time.perf_counter()
            self.run()
            seconds.append(time.perf_counter() - begun)
        return self.operations / min(seconds)


def _is_emulated(dtype: torch.dtype) -> bool:
    return dtype == torch.bfloat16 and not native_bfloat16()


def ceilings(base: Path) -> dict[str, float]:
    """10^9 operations a second, by compute type."""
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return {name: round(Matmuls(base, dtype).best() / 1e9, 2) for name, dtype in types.items()}


def multiply(work: Work, clock: Clock) -> Record:
    """A side that does nothing else; counted in operations.

    A step takes about as many as an optimiser step of these settings.
    """
    clock.wait()
    settings = work.settings
    matmuls = Matmuls(work.base, getattr(torch, settings.dtype))
    wanted = 4 * layer_parameters(work.base) * settings.batch * settings.max_length
    runs = max(1, wanted // matmuls.operations)
    for _ in count():
        for _ in range(runs):
            matmuls.run()
        clock.after(runs * matmuls.operations)
    raise AssertionError
