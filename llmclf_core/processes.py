"""Which process this is, and on which device it computes; Accelerate's launcher decides."""

from __future__ import annotations

import torch
from accelerate import PartialState


def process_state() -> PartialState:
    """This process's place among those of one training (alone, unless launched as several)."""
    return PartialState(cpu=on_cpu())


def on_cpu() -> bool:
    """Whether there is no CUDA device; Accelerate has to be told to form a group of CPUs."""
    return not torch.cuda.is_available()


def is_main_process() -> bool:
    """Whether this process writes and logs."""
    return bool(process_state().is_main_process)


def device() -> torch.device:
    """This process's GPU, or the CPU."""
    return torch.device(process_state().device)
