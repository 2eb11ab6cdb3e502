"""What a training cost: parameters, seconds, tokens, memory."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
from torch import nn

from llmclf_core.training.checkpoint import Progress, trainable


def training_cost(model: nn.Module, progress: Progress) -> dict[str, float]:
    """:func:`cost_of` a training by the loop."""
    parameters = sum(p.numel() for p in trainable(model).values())
    return cost_of(parameters, progress.seconds, progress.tokens)


def cost_of(parameters: int, seconds: float, tokens: int | None = None) -> dict[str, float]:
    """Figures that are comparable between approaches.

    Args:
        parameters: how many were trained.
        seconds: spent on it, over all attempts of a resumed training.
        tokens: trained on (real ones, no padding); None where there are none.

    Returns:
        ``trained_parameters``, ``train_seconds``, ``train_tokens_per_second`` (with ``tokens``),
        ``peak_memory_mb`` (of the process, 1 MB = 10^6 bytes) and, with a GPU,
        ``peak_gpu_memory_mb``.
    """
    cost: dict[str, float] = {"trained_parameters": parameters, "train_seconds": seconds}
    if tokens is not None:
        cost["train_tokens_per_second"] = tokens / max(seconds, 1e-9)
    cost["peak_memory_mb"] = peak_memory_bytes() / 1e6
    if torch.cuda.is_available():
        cost["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return cost


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, in bytes."""
    peak: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
