"""How much memory a training could have here and now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from llmclf_core.processes import on_cpu

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_FILES = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of cgroups v2 and v1: below which directory, limit, use, and the part of it that can be had."""


def memory() -> int:
    """Bytes that a process in place of this one could take, within the limits of its cgroup."""
    own = psutil.Process().memory_info().rss
    return min([psutil.virtual_memory().available, *_within_limits()]) + int(own)


def gpu_memory() -> int | None:
    """Bytes that are free on this process's GPU; None without one."""
    import torch

    return None if on_cpu() else int(torch.cuda.mem_get_info()[0])


def _within_limits() -> Iterator[int]:
    for below, limit, use, reclaimable in _FILES:
        for directory in _directories(_CGROUPS / below):
            most, used = _number(directory / limit), _number(directory / use)
            if most is not None and used is not None:
                yield most - used + _statistic(directory / "memory.stat", reclaimable)


def _directories(root: Path) -> set[Path]:
    """The root, which is a container's own, and this process's group with all above it."""
    lines = _OWN_CGROUPS.read_text("utf-8").splitlines() if _OWN_CGROUPS.exists() else []
    groups = {root / line.split(":", 2)[2].lstrip("/") for line in lines}
    above = {parent for group in groups for parent in group.parents if parent.is_relative_to(root)}
    return {root} | groups | above


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or "max"
        return None


def _statistic(file: Path, name: str) -> int:
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
