"""How many parameters a training has, without loading any."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import nn


class Buildable(Protocol):
    """A training whose model can be built by the base's configuration alone."""

    def bare(self, directory: Path) -> nn.Module:
        """See :meth:`llmclf_core.steps.neural.NeuralJob.bare`."""
        ...


def count(job: Buildable, directory: Path) -> tuple[int, int]:
    """Parameters that train, and those that do not.

    Args:
        job: the training.
        directory: holds the ``config.json`` of its base model.
    """
    with torch.device("meta"):
        model = job.bare(directory)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in model.parameters()) - trained
