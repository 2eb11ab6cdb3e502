"""The reference's instruction tuning and generation."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

from benchmarks.fast.quality import Answers, block
from benchmarks.fast.sides.recipes import Steps, recipe
from benchmarks.fast.turns import Clock, StoppedError
from benchmarks.fast.work import Record, Work
from benchmarks.reference.generate import Generator
from benchmarks.reference.instruct import make_trainer
from benchmarks.reference.rows import Rows


def train(work: Work, clock: Clock) -> Record:
    """Counted in documents."""
    clock.wait()
    rows, steps = Rows.read(work.rows), Steps(clock, work.settings.batch)
    make_trainer(recipe(work), rows, work.scratch, [steps]).train()
    raise RuntimeError("the training has ended before the measurement")


def predict(work: Work, clock: Clock) -> Record:
    """Generation with our trained adapter, one document after the other."""
    clock.wait()
    rows, settings = Rows.read(work.rows), work.settings
    prompt = work.prompt.read_text("utf-8")
    adapter, longest = work.classifier / "adapter", settings.answer_tokens
    generator = Generator(recipe(work), adapter, prompt, rows.labels, longest)
    answers = Answers()
    with suppress(StoppedError):
        for turn in count():
            batch = block(rows.validation, turn, settings.batch)
            answers.add(batch, [generator.predict(row.text) for row in batch])
            clock.after(len(batch))
    return {"micro_f1": answers.micro_f1}
