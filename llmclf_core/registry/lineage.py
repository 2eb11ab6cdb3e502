"""Where a classifier comes from: code, libraries, machine, data and tracking run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

import llmclf_core
from llmclf_core.processes import loaded_torch
from llmclf_core.registry.runs import pipeline_run

GIT_COMMIT = "LLMCLF_GIT_COMMIT"
_LIBRARIES = [
    "accelerate",
    "bitsandbytes",
    "datasets",
    "mlflow",
    "numpy",
    "peft",
    "pyarrow",
    "scikit-learn",
    "torch",
    "transformers",
]


def collect(**known: Any) -> dict[str, Any]:
    """What is put into ``classifier.lineage``.

    Args:
        **known: what only the step knows (``corpus``, ``tokens``, ``run_key``, ``seed``).

    Returns:
        JSON-ready: the above, ``llmclf``, ``git_commit``, ``pipeline_run``, ``python``,
        ``libraries`` (name to version) and ``machine``. No host name and no user name.
    """
    return {
        **known,
        "llmclf": llmclf_core.__version__,
        "git_commit": git_commit(),
        "pipeline_run": pipeline_run(),
        "python": platform.python_version(),
        "libraries": versions(_LIBRARIES),
        "machine": machine(),
    }


def versions(names: list[str]) -> dict[str, str]:
    """Installed versions; what is not installed is left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, memory in bytes, and by name the GPUs of a process that uses torch."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "gpus": _gpus(),
    }


def git_commit() -> str | None:
    """``LLMCLF_GIT_COMMIT`` (images have no checkout), else the commit of the checkout; with
    ``-dirty`` when files differ from it."""
    if commit := os.environ.get(GIT_COMMIT):
        return commit
    root = Path(llmclf_core.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _gpus() -> list[str]:
    torch = loaded_torch()
    if torch is None:
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
