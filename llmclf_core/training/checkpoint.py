"""Training state on disk: safetensors and JSON, no pickle, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmclf_core.errors import UserError
from llmclf_core.files import atomic_directory
from llmclf_core.training.memory import Peak

STATE = "state.json"
TENSORS = "tensors.safetensors"


@dataclass
class Progress:
    """How far a training has come; everything that is not a tensor.

    Attributes:
        step: optimiser steps done.
        best_step: the step of the best validation so far.
        best_score: its metric and negative loss, or None before the first validation.
        stale: validations since then.
        seconds: training time so far, over all attempts; building the model and validating count.
        peak: the most memory taken so far, over all attempts.
        tokens: real tokens trained on so far (no padding).
        history: one entry a validation.
        stopped: early stopping has ended the training.
    """

    step: int = 0
    best_step: int = 0
    best_score: Sequence[float] | None = None
    stale: int = 0
    seconds: float = 0.0
    peak: Peak = field(default_factory=Peak)
    tokens: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    stopped: bool = False


@dataclass
class Best:
    """The best parameters so far, by name, and their validation logits (rows, n_labels)."""

    parameters: dict[str, Tensor]
    validation_logits: Tensor


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that train, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def copy_of(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """A detached copy on the CPU."""
    return {name: p.detach().to("cpu", copy=True) for name, p in parameters.items()}


def restore(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy saved values into the model's trainable parameters."""
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(tensors[name])


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Best,
    progress: Progress,
) -> None:
    """Write everything that an exact continuation needs, the random state included.

    The memory that the process has taken goes into ``progress``; writing takes some itself.

    Raises:
        UserError: when the disk is full or the place cannot be written.
    """
    tensors = {f"model.{name}": p for name, p in copy_of(trainable(model)).items()}
    tensors |= {f"best.{name}": p for name, p in best.parameters.items()}
    tensors["best_logits"] = best.validation_logits
    optimizer_tensors, scalars = _flatten(optimizer.state_dict()["state"])
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    with atomic_directory(path) as draft:
        save_file(tensors, draft / TENSORS)
        progress.peak = progress.peak.now()
        state = {"progress": asdict(progress), "optimizer": scalars}
        (draft / STATE).write_text(json.dumps(state), "utf-8")


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, Best]:
    """Restore model, optimiser and random state.

    Returns:
        The progress, and the best so far.

    Raises:
        UserError: when the checkpoint is damaged.
    """
    try:
        tensors = load_file(path / TENSORS)
        state = json.loads((path / STATE).read_text("utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"the checkpoint {path} is damaged ({error}); delete it to start over"
        ) from None
    restore(model, _under("model.", tensors))
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(
        {
            "state": _unflatten(_under("optimizer.", tensors), state["optimizer"]),
            "param_groups": groups,
        }
    )
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    best = Best(_under("best.", tensors), tensors["best_logits"])
    return _progress(state["progress"]), best


def _progress(saved: dict[str, Any]) -> Progress:
    peak = Peak(**saved["peak"]) if "peak" in saved else Peak().now()  # once it was not noted
    return Progress(**saved | {"peak": peak})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _flatten(state: Mapping[Any, Any], under: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and other values of nested dicts (8-bit optimisers nest theirs), by joined keys."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for key, value in state.items():
        name = f"{under}{key}"
        if isinstance(value, Mapping):
            inner_tensors, inner_scalars = _flatten(value, f"{name}.")
            tensors |= inner_tensors
            scalars |= inner_scalars
        elif isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()
        else:
            scalars[name] = value
    return tensors, scalars


def _unflatten(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, *path, name = key.split(".")
        inner = state.setdefault(int(index), {})
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return state
