"""Optimiser steps of the product's own loop on random rows, timed one by one."""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.large.model import layer_parameters, random_decoder
from llmclf_core.config import HeadConfig, LoraConfig, TrainingConfig
from llmclf_core.models.compiled import compiled_layers
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.plain_scoring import answer_losses
from llmclf_core.processes import device
from llmclf_core.tokens.batching import Rows
from llmclf_core.training.loop import Loop, Task
from llmclf_core.training.losses import row_losses
from llmclf_core.training.memory import peak_gpu_memory_bytes, peak_memory_bytes

Approach = Literal["head", "instruct"]

LABELS, ANSWER, WARM_UP = 14, 4, 2
_SIDE, _PRODUCTS = {"cuda": 8192, "cpu": 1024}, 8
_PAD = 0


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        shape: of the model.
        approach: head or instruct.
        length: real tokens of every row; no padding.
        batch: rows in a forward pass, one optimiser step.
        dtype: compute type, by name.
        rank: of the adapter, on all linear layers.
        training: further settings of the loop.
        steps: timed ones, after :data:`WARM_UP`.
    """

    shape: str
    approach: Approach
    length: int
    batch: int
    dtype: str
    rank: int
    steps: int
    training: dict[str, Any] = field(default_factory=dict)


def measure(setup: Setup) -> dict[str, Any]:
    """Train for a few steps, in a process that has done nothing else.

    Returns:
        ``tokens_per_second`` (median of the steps, and their range), ``first_step_seconds`` (with
        what is compiled or set up in it), ``peak_memory_gb`` (10^9 bytes; of the GPU where there
        is one, else of the process), ``ceiling_tflops`` of plain matrix products in this compute
        type, and ``matmul_share``: 4 × parameters of the layers × tokens a second, as a share of
        it.
    """
    ceiling = matmul_ceiling(getattr(torch, setup.dtype), device())
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    first, *seconds = _step_seconds(setup)
    tokens = setup.batch * setup.length
    speeds = sorted(tokens / s for s in seconds)
    median = float(np.median(speeds))
    peak = peak_gpu_memory_bytes() or peak_memory_bytes()
    return {
        "tokens_per_second": round(median, 2),
        "low": round(speeds[0], 2),
        "high": round(speeds[-1], 2),
        "first_step_seconds": round(first, 1),
        "peak_memory_gb": round(peak / 1e9, 2),
        "ceiling_tflops": round(ceiling / 1e12, 3),
        "matmul_share": round(4 * layer_parameters(setup.shape) * median / ceiling, 3),
    }


def matmul_ceiling(dtype: torch.dtype, where: torch.device) -> float:
    """Operations a second of square matrix products, the best of a few."""
    side = _SIDE[where.type]
    a, b = (torch.randn(side, side, dtype=dtype, device=where) for _ in range(2))
    seconds = []
    for _ in range(_PRODUCTS):
        begun = time.perf_counter()
        float((a @ b)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - begun)
    return float(2 * side**3 / min(seconds))


def _step_seconds(setup: Setup) -> list[float]:
    """Of the first step, and of those behind the warm-up."""
    torch.manual_seed(0)
    model = random_decoder(setup.shape, getattr(torch, setup.dtype), device())
    if setup.training.get("gradient_checkpointing"):
        model.gradient_checkpointing_enable({"use_reentrant": False})
    lora = LoraConfig(rank=setup.rank, alpha=2 * setup.rank, dropout=0.0)
    task = (_head if setup.approach == "head" else _instruct)(setup, model, lora)
    marks: list[float] = []

    def told(metrics: dict[str, float], step: int) -> None:
        if "train_loss" in metrics:  # a number: the device has finished the step
            marks.append(time.perf_counter())

    config = TrainingConfig(
        epochs=1, batch_size=setup.batch, checkpoint_seconds=1e9, **setup.training
    )
    with (
        tempfile.TemporaryDirectory(prefix="llmclf-large-") as scratch,
        compiled_layers(model) if config.compile else nullcontext(),
    ):
        loop = Loop(task, config, 0, Path(scratch) / "checkpoint", told)
        marks.append(time.perf_counter())
        loop.run()
    first, *others = np.diff(marks)
    return [first, *others[WARM_UP - 1 :]]


def _rows(setup: Setup) -> Tensor:
    """Token ids, (rows, length)."""
    n = setup.batch * (WARM_UP + setup.steps)
    return torch.randint(1, 500, (n, setup.length), generator=torch.Generator().manual_seed(0))


def _task(setup: Setup, model: nn.Module, loss: Any, head: set[str]) -> Task:
    def validate() -> tuple[dict[str, float], Any]:
        return {"macro_f1": 0.0, "loss": 0.0}, np.zeros((1, LABELS), np.float32)

    n = setup.batch * (WARM_UP + setup.steps)
    return Task(model, np.full(n, setup.length, np.int64), loss, validate, head=head)


def _head(setup: Setup, model: Any, lora: LoraConfig) -> Task:
    backbone = model.model
    head = ClassificationHead(model.config.hidden_size, LABELS, HeadConfig()).to(device())
    whole, ids = HeadModel(add_adapter(backbone, lora, setup.shape), head), _rows(setup)
    config = TrainingConfig()

    def loss(module: nn.Module, rows: Rows) -> Tensor:
        batch = ids[rows].to(device())
        truth = nn.functional.one_hot(torch.from_numpy(rows) % LABELS, LABELS).float().to(device())
        logits = module(batch, torch.ones_like(batch))
        return row_losses(logits, truth, "single", config, None).sum()

    names = {f"head.{name}" for name, _ in head.named_parameters()}
    return _task(setup, whole, loss, names)


def _instruct(setup: Setup, model: Any, lora: LoraConfig) -> Task:
    whole, ids = add_adapter(model, lora, setup.shape), _rows(setup).tolist()

    def loss(module: nn.Module, rows: Rows) -> Tensor:
        contexts = [ids[i][:-ANSWER] for i in rows]
        answers = [ids[i][-ANSWER:] for i in rows]
        return answer_losses(module, contexts, answers, _PAD).sum()

    return _task(setup, whole, loss, set())
