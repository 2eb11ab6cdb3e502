"""How much memory this process has taken at most. Needs no torch."""

from __future__ import annotations

import ctypes
import resource
import sys
from dataclasses import dataclass
from typing import Any

from llmclf_core.processes import loaded_torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's names, of malloc.h. The second may be 32 MiB at most."""


@dataclass(frozen=True)
class Peak:
    """The most memory that a work has taken, in bytes, over all its attempts.

    Attributes:
        memory: the largest resident set of a process.
        gpu: the most that torch had allocated on the GPU; 0 without one, or without torch.
    """

    memory: int = 0
    gpu: int = 0

    def now(self) -> Peak:
        """This, or what the process has taken so far where that is more."""
        return Peak(max(self.memory, peak_memory_bytes()), max(self.gpu, peak_gpu_memory_bytes()))


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, in bytes."""
    peak: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


def peak_gpu_memory_bytes() -> int:
    """The most that torch has allocated on this process's GPU so far, in bytes."""
    torch = loaded_torch()
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.max_memory_allocated())


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for its next pass, where libc is glibc.

    By default large blocks go back to the system at once, and every pass waits for empty pages:
    between 2 and 8 % of a training of SmolLM2-135M in bfloat16.

    Returns:
        Whether the C library has taken it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = {_M_TRIM_THRESHOLD: 2**31 - 1, _M_MMAP_THRESHOLD: 2**25}
    return mallopt is not None and all(mallopt(*pair) == 1 for pair in wanted.items())
