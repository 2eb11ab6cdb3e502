"""What a case is, at a size, and what both of its sides are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

Record = dict[str, Any]
"""What one side did in one repetition."""


@dataclass(frozen=True)
class Settings:
    """A size. Both sides have the same rows, weights, precision and effective batch.

    Attributes:
        corpus: ``bbc``, ``tags58``, or ``sentences`` (texts of BBC's sentences).
        train, validation: rows of each.
        longest: the longest training rows in place of a random choice.
        document: tokens that the texts are cut to beforehand, so that prompt and answer fit.
        max_length: tokens kept of a text; with a prompt, of all together.
        prompted: prompt and answer stand around the text.
        precision: of the base's weights; ``auto``: bf16 where the hardware has it, else fp32.
        dtype: compute type; see :func:`resolved`.
        batch: rows of an optimiser step, or texts of a prediction.
        ours_batch, reference_batch: rows in a forward pass of training.
        epochs: of a whole training.
        top_layers: layers with an adapter; None: all.
        answer_tokens: the longest answer that is generated.
        steps: optimiser steps, or predictions, in a turn.
        repetitions: pairs of turns.
    """

    corpus: Literal["bbc", "tags58", "sentences"] = "bbc"
    train: int = 256
    validation: int = 16
    longest: bool = False
    document: int | None = None
    max_length: int = 512
    prompted: bool = False
    precision: Literal["auto", "fp32", "bf16", "nf4"] = "auto"
    dtype: Literal["", "float32", "bfloat16"] = ""
    batch: int = 32
    ours_batch: int = 8
    reference_batch: int = 4
    epochs: int = 1000
    top_layers: int | None = None
    answer_tokens: int = 16
    steps: int = 1
    repetitions: int = 5


def resolved(settings: Settings, native: bool) -> Settings:
    """The same size with precision and compute type by name.

    Args:
        settings: any size.
        native: whether the hardware computes in bfloat16.
    """
    auto: Literal["fp32", "bf16"] = "bf16" if native else "fp32"
    precision = auto if settings.precision == "auto" else settings.precision
    wide = precision == "fp32" or (precision == "nf4" and not native)
    return replace(settings, precision=precision, dtype="float32" if wide else "bfloat16")


@dataclass(frozen=True)
class Work:
    """What a side is given.

    Attributes:
        settings: the size, resolved.
        base: directory of the base model.
        place: where the rows lie, in all the forms that a side may want.
        scratch: an empty directory of the side's own.
    """

    settings: Settings
    base: Path
    place: Path
    scratch: Path

    @property
    def source(self) -> Path:
        """The file of made texts, which ingest reads."""
        return self.place.parent / f"sentences-{self.settings.train}.jsonl"

    @property
    def rows(self) -> Path:
        """The rows as JSON (:class:`benchmarks.reference.rows.Rows`)."""
        return self.place / "rows.json"

    @property
    def tokens(self) -> Path:
        """The same rows, encoded (:class:`llmclf_core.artifacts.Tokens`)."""
        return self.place / "tokens"

    @property
    def prompt(self) -> Path:
        """The prompt of the classifier, with ``{text}``."""
        return self.place / "prompt.txt"

    @property
    def classifier(self) -> Path:
        """A trained classifier, for predictions."""
        return self.place / "classifier"


@dataclass(frozen=True)
class Case:
    """A figure: what is measured, and what it has to be.

    Attributes:
        id: of the result file.
        title: for the table.
        unit: of the value.
        target: at least this, or at most when ``lower_is_better``.
        ours, reference: ``module:function`` of the two sides.
        full, short: the sizes.
        emulated: the size for a processor that only emulates the compute type, which takes minutes
            a step there.
        compare: records of ours and of the reference to the value.
        by_turns: the sides live on and work by turns; else each repetition is a fresh process.
        predicts: both sides need a trained classifier.
        stand_in: measured only where bfloat16 is emulated, beside a case that has to be small.
        lower_is_better: of the value.
    """

    id: str
    title: str
    unit: str
    target: float
    ours: str
    reference: str
    full: Settings
    short: Settings
    compare: Callable[[Record, Record], float]
    emulated: Settings | None = None
    by_turns: bool = True
    predicts: bool = False
    stand_in: bool = False
    lower_is_better: bool = False

    def met(self, value: float) -> bool:
        """Whether a value is what it has to be."""
        return value <= self.target if self.lower_is_better else value >= self.target
