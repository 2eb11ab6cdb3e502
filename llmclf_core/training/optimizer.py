"""The optimiser over adapter and head, in groups by rate and decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmclf_core.config import TrainingConfig
from llmclf_core.training.checkpoint import trainable


def make_optimizer(
    model: nn.Module, head: set[str], config: TrainingConfig
) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, queries, norms) are not decayed.

    Args:
        model: its parameters with ``requires_grad`` are optimised.
        head: names of those that learn at ``head_learning_rate``.
        config: rates and decay.

    Returns:
        An optimiser whose groups carry their ``peak`` rate for the schedule.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in trainable(model).items():
        rate = config.head_learning_rate if name in head else None
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate or config.learning_rate, decay), []).append(parameter)
    optimizer: torch.optim.Optimizer = _class(config)(
        [
            {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]
    )
    return optimizer


def _class(config: TrainingConfig) -> Any:
    if config.optimizer == "adamw":
        return torch.optim.AdamW
    import bitsandbytes

    return bitsandbytes.optim.AdamW8bit
