"""Our sides: the product's own jobs, loop and predictors, with a clock beside them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

from torch import Tensor, nn

from benchmarks.fast.ceiling import layer_parameters
from benchmarks.fast.configs import (
    base_config,
    instruct_config,
    lora_config,
    sentences_config,
    tokenize_config,
    training_config,
)
from benchmarks.fast.quality import Answers, block
from benchmarks.fast.turns import Clock, StoppedError
from benchmarks.fast.work import Record, Work
from benchmarks.reference.rows import Rows
from llmclf_core.approaches import load_classifier
from llmclf_core.config import HeadConfig, TrainingConfig
from llmclf_core.corpus import ingest
from llmclf_core.steps.finetune_head import HeadJob
from llmclf_core.steps.finetune_instruct import InstructJob, finetune_instruct
from llmclf_core.steps.neural import NeuralJob
from llmclf_core.tokens import batching
from llmclf_core.tokens.tokenize import tokenize
from llmclf_core.training.loop import Task
from llmclf_core.training.memory import peak_memory_bytes


class _Counted(NeuralJob[Any, Any]):
    """A job that counts the rows whose loss was taken, and their real tokens."""

    rows = 0
    real_tokens = 0

    def task(self, model: Any) -> Task:
        task = super().task(model)  # type: ignore[safe-super]

        def loss(module: nn.Module, rows: batching.Rows) -> Tensor:
            self.rows += len(rows)
            self.real_tokens += int(task.lengths[rows].sum())
            return task.loss(module, rows)

        return replace(task, loss=loss)

    def timed(self, clock: Clock, amount: Callable[[], int]) -> Record:
        """Train; the clock is told of every step, by how much the amount has grown."""
        before = 0

        def stepped(metrics: dict[str, float], step: int) -> None:
            nonlocal before
            if "train_loss" in metrics:
                done, before = amount() - before, amount()
                clock.after(done)

        self.train(stepped)
        raise RuntimeError("the training has ended before the measurement")


class _Head(_Counted, HeadJob):
    pass


class _Instruct(_Counted, InstructJob):
    pass


def head_job(
    work: Work, training: TrainingConfig | None = None, head: HeadConfig | None = None
) -> _Head:
    """The finetune-head step's job, with a state of its own."""
    settings = work.settings
    base, lora = base_config(settings, work.base), lora_config(settings)
    training, head = training or training_config(settings), head or HeadConfig()
    job = _Head(work.tokens, base, lora, head, training, 0)
    job.state = work.scratch
    return job


def train_head(work: Work, clock: Clock) -> Record:
    """Head fine-tuning; counted in real tokens."""
    clock.wait()
    job = head_job(work)
    return job.timed(clock, lambda: job.real_tokens)


def train_head_uncached(work: Work, clock: Clock) -> Record:
    """The same, and frozen layers are computed in every pass."""
    clock.wait()
    training = training_config(work.settings).model_copy(update={"frozen_layers": "compute"})
    job = head_job(work, training)
    return job.timed(clock, lambda: job.real_tokens)


def train_head_in_operations(work: Work, clock: Clock) -> Record:
    """The same, counted in operations of its matrix products: two for each parameter and token in
    the forward pass, and two in the backward pass through frozen weights."""
    clock.wait()
    job, each = head_job(work), 4 * layer_parameters(work.base)
    return job.timed(clock, lambda: each * job.real_tokens)


def train_instruct(work: Work, clock: Clock) -> Record:
    """Instruct fine-tuning; counted in documents."""
    clock.wait()
    settings = work.settings
    base, lora = base_config(settings, work.base), lora_config(settings)
    training = training_config(settings)
    job = _Instruct(work.tokens, base, lora, instruct_config(), training, 0)
    job.state = work.scratch
    return job.timed(clock, lambda: job.rows)


def predict(work: Work, clock: Clock) -> Record:
    """Prediction with a trained classifier, a batch of documents a step."""
    clock.wait()
    classifier = load_classifier(work.classifier)
    rows, size, answers = Rows.read(work.rows).validation, work.settings.batch, Answers()
    with suppress(StoppedError):
        for turn in count():
            batch = block(rows, turn, size)
            answers.add(batch, classifier.predict([row.text for row in batch]))
            clock.after(len(batch))
    return {"micro_f1": answers.micro_f1}


def ingest_and_tokenize(work: Work, clock: Clock) -> Record:
    """From the source file to token ids on disk; counted in tokens."""
    clock.wait()
    for turn in count():
        place = work.scratch / str(turn)
        os.environ["LLMCLF_CACHE"] = str(place / "cache")  # texts are encoded once for each cache
        ingest(sentences_config(work.source), place / "corpus")
        base, config = base_config(work.settings, work.base), tokenize_config(work.settings)
        tokens = tokenize(place / "corpus", base, config, place / "tokens")
        amount = sum(int(part["tokens"]) for part in tokens.statistics.values())
        del tokens  # mapped into memory
        shutil.rmtree(place)
        clock.after(amount)
    raise AssertionError


def make_classifier(work: Work, clock: Clock) -> Record:
    """An instruct classifier that has learnt to answer, for predictions."""
    training = TrainingConfig(epochs=1, learning_rate=1e-3)
    settings = work.settings
    finetune_instruct(
        work.tokens,
        base_config(settings, work.base),
        lora_config(settings),
        instruct_config(),
        training,
        work.classifier,
    )
    return {}


def memory_of_head(work: Work, clock: Clock) -> Record:
    """A whole head fine-tuning: its peak memory, in bytes."""
    job = head_job(work)
    job.train(lambda metrics, step: None)
    return {"peak_memory": peak_memory_bytes()}


def validations_of_head(work: Work, clock: Clock) -> Record:
    """A whole head fine-tuning that starts from frozen embeddings: when each validation came, in
    seconds, and its macro F1."""
    begun, validations = time.perf_counter(), []

    def told(metrics: dict[str, float], step: int) -> None:
        if "validation_macro_f1" in metrics:
            seconds = time.perf_counter() - begun
            found = {"seconds": seconds, "macro_f1": metrics["validation_macro_f1"]}
            validations.append(found)

    training = training_config(work.settings).model_copy(update={"evaluations_per_epoch": 2})
    job = head_job(work, training, HeadConfig(pooling="mean", init="frozen"))
    job.train(told)
    return {"validations": validations}
