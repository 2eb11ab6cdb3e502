"""The reference's head fine-tuning.

Neither llmclf_core nor TRL is imported here: what they take would count as the reference's memory.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.fast.sides.recipes import Steps, recipe
from benchmarks.fast.turns import Clock
from benchmarks.fast.work import Record, Work
from benchmarks.reference.head import make_trainer
from benchmarks.reference.rows import Rows


def train(work: Work, clock: Clock) -> Record:
    """Counted in real tokens."""
    clock.wait()
    rows = Rows.read(work.rows)
    make_trainer(recipe(work), rows, work.scratch, [Steps(clock)]).train()
    raise RuntimeError("the training has ended before the measurement")


def memory(work: Work, clock: Clock) -> Record:
    """A whole training: its peak memory, in bytes."""
    rows = Rows.read(work.rows)
    make_trainer(recipe(work), rows, work.scratch, evaluate=True).train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory": peak * (1 if sys.platform == "darwin" else 1024)}


def validations(work: Work, clock: Clock) -> Record:
    """A whole training: when each validation came, in seconds, and its macro F1."""
    noted = _Validations()
    rows = Rows.read(work.rows)
    make_trainer(recipe(work), rows, work.scratch, [noted], evaluate=True).train()
    return {"validations": noted.found}


class _Validations(TrainerCallback):
    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.found: list[dict[str, float]] = []

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **more: Any,
    ) -> None:
        seconds = time.perf_counter() - self._begun
        self.found.append({"seconds": seconds, "macro_f1": metrics["eval_macro_f1"]})
