"""The reference recipe at a size, and its trainers' steps."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.fast.turns import Clock
from benchmarks.fast.work import Work
from benchmarks.reference.recipe import Recipe


def recipe(work: Work) -> Recipe:
    """The settings that both sides share, in the reference's words."""
    settings = work.settings
    assert settings.precision != "auto"
    assert settings.dtype
    return Recipe(
        base=work.base,
        precision=settings.precision,
        dtype=settings.dtype,
        epochs=settings.epochs,
        batch_size=settings.reference_batch,
        accumulation=settings.batch // settings.reference_batch,
        max_length=settings.max_length,
        top_layers=settings.top_layers,
    )


class Steps(TrainerCallback):
    """Tells the clock of every optimiser step: its rows where they are given, else its real
    tokens."""

    def __init__(self, clock: Clock, rows: int | None = None) -> None:
        self._clock, self._rows, self._before = clock, rows, 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        seen = int(state.num_input_tokens_seen)
        tokens, self._before = seen - self._before, seen
        self._clock.after(tokens if self._rows is None else self._rows)
