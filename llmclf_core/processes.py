"""Which process this is, and on which device it computes; Accelerate's launcher decides.

Torch and Accelerate are imported on demand: an approach that needs neither would pay for them with
a few hundred megabytes of memory, which count as its own.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from llmclf_core.errors import UserError

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are; Accelerate reads the same ones."""


NEEDS_GPU = "LLMCLF_NEEDS_GPU"
"""Set in pods that hold a GPU: computing on the CPU there would only look like working."""


def process_state() -> PartialState:
    """This process's place among those of one training (alone, unless launched as several)."""
    from accelerate import PartialState

    return PartialState(cpu=on_cpu())


def on_cpu() -> bool:
    """Whether there is no CUDA device, or ``ACCELERATE_USE_CPU`` says not to use it.

    Accelerate has to be told to form a group of CPUs.

    Raises:
        UserError: when there is none where ``LLMCLF_NEEDS_GPU`` is set.
    """
    import torch
    from accelerate.utils import parse_flag_from_env

    if torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        return False
    if os.environ.get(NEEDS_GPU):
        raise UserError(
            "a GPU was asked for, and this image or node has none that can be used; give the CUDA "
            "image with --gpu-image, or do without (cluster.gpus: 0)"
        )
    return True


def is_main_process() -> bool:
    """Whether this process writes and logs."""
    return not _several() or bool(process_state().is_main_process)


def wait_for_everyone() -> None:
    """Wait until every process of this training is here."""
    if _several():
        process_state().wait_for_everyone()


def _several() -> bool:
    return any(int(os.environ.get(name) or 1) > 1 for name in _WORLD_SIZES)


def device() -> torch.device:
    """This process's GPU, or the CPU."""
    import torch

    return torch.device(process_state().device)


def loaded_torch() -> ModuleType | None:
    """Torch, if this process uses it."""
    return sys.modules.get("torch")
