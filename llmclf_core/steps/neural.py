"""What the training steps of all neural approaches do alike, around the one loop."""

from __future__ import annotations

import time
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from llmclf_core.approaches.base import Classifier
from llmclf_core.artifacts import TRAIN, VALIDATION, Tokens
from llmclf_core.config import BaseModelConfig, TrainingConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import resolve, resolve_dtype
from llmclf_core.models.compiled import compiled_layers
from llmclf_core.planning.check import check_memory
from llmclf_core.processes import on_cpu
from llmclf_core.steps.frozen import Frozen
from llmclf_core.steps.job import Job
from llmclf_core.training.checkpoint import trainable
from llmclf_core.training.cost import cost_of
from llmclf_core.training.loop import Logits, LogMetrics, Loop, Task
from llmclf_core.training.memory import keep_freed_memory

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=Classifier)

CHECKPOINT = "checkpoint"

_NOT_DECIDING = {"checkpoint_seconds", "compile", "frozen_layers", "memory_check", "pass_tokens"}
"""Settings of the loop that the result does not depend on."""


class NeuralJob(Job[C], Generic[M, C]):
    """One training by the loop: its inputs, and the parts that the loop needs.

    An approach's job says how the model is built from the seed alone, what a batch's loss and a
    validation are, and what classifier comes of it.

    Attributes:
        prompted: whether the tokens have to be made for a prompt.
        tokens: training and validation rows.
        base, base_config: the pretrained model; ``dtype`` is resolved.
        training, seed: the loop.
        train_truth, validation_truth: 0/1 matrices, (rows, n_labels).
        frozen: layers that the passes of a training leave out.
    """

    kept: ClassVar[str] = CHECKPOINT
    frozen: Frozen = Frozen()
    prompted: ClassVar[bool] = False

    def __init__(
        self,
        tokens_path: Path,
        base_config: BaseModelConfig,
        training: TrainingConfig,
        seed: int,
        own_settings: dict[str, Any],
    ) -> None:
        """Args:
        tokens_path: a saved :class:`Tokens`, made with the tokenizer of the same base.
        base_config: the base model, quantisation and compute type.
        training: the loop.
        seed: of everything random.
        own_settings: sections that only this approach has, by name.

        Raises:
            UserError: for unreadable tokens or a base model that cannot be found.
        """
        self.tokens = Tokens.load(tokens_path, self.prompted)
        self.base = resolve(base_config.source, base_config.revision)
        self.base_config = resolve_dtype(base_config)
        self.training, self.seed = training, seed
        self.labels: LabelSpace = self.tokens.labels
        self.train_truth = self.labels.indicators(self.tokens.splits[TRAIN]["labels"])
        self.validation_truth = self.labels.indicators(self.tokens.splits[VALIDATION]["labels"])
        # All that decides the result, by section; what is left out does not.
        settings: dict[str, Any] = {
            "approach": self.approach,
            "seed": seed,
            "base": self.base_config.model_dump(),
            "training": training.model_dump(exclude=_NOT_DECIDING),
            "tokenize": self.tokens.recipe,
        } | own_settings
        super().__init__(
            settings,
            {name: len(split) for name, split in self.tokens.splits.items()},
            {"corpus": self.tokens.corpus, "tokens": self.tokens.fingerprint, "seed": seed},
            self.base,
            self.base_config.quantization,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Compute type."""
        return getattr(torch, self.base_config.dtype)  # type: ignore[no-any-return]

    @property
    def resuming(self) -> bool:
        """A checkpoint will replace the fresh model's parameters."""
        return (self.state / CHECKPOINT).exists()

    @abstractmethod
    def build(self) -> M:
        """The model as training starts; torch is seeded already."""

    @abstractmethod
    def bare(self, directory: Path) -> M:
        """The model that :meth:`build` makes of such a base, by its ``config.json`` alone; inside
        ``torch.device("meta")`` it takes no memory."""

    @abstractmethod
    def task(self, model: M) -> Task:
        """Loss and validation of what :meth:`build` made, by way of ``frozen``."""

    def shortcut(self, model: M) -> AbstractContextManager[Frozen]:
        """What passes over the rows need not compute; this approach's compute everything."""
        if self.training.frozen_layers == "cache":
            raise UserError(
                f"{self.approach}.training.frozen_layers: nothing to cache; leave it out"
            )
        return nullcontext(Frozen())

    def frozen_key(self) -> list[Any]:
        """What decides the frozen layers' output, but for the rows and the number of layers."""
        return [self.base.fingerprint, self.base_config.model_dump(exclude={"source", "revision"})]

    @abstractmethod
    def classifier(self, model: M, validation_logits: Logits) -> C:
        """The calibrated classifier; the model holds its best parameters."""

    def train(self, log_metrics: LogMetrics) -> C:
        check_memory(self)
        if on_cpu():
            keep_freed_memory()
        begun = time.monotonic()
        torch.manual_seed(self.seed)
        model = self.build()
        with self.shortcut(model) as self.frozen:
            task = replace(self.task(model), itemsize=self.dtype.itemsize)
            checkpoint = self.state / CHECKPOINT
            # A training is charged for what another one has computed for it.
            spent = time.monotonic() - begun + self.frozen.seconds
            loop = Loop(task, self.training, self.seed, checkpoint, log_metrics, spent)
            with compiled_layers(model) if self.training.compile else nullcontext():
                progress, logits = loop.run()
        classifier = self.classifier(model, logits)
        parameters = sum(p.numel() for p in trainable(model).values())
        classifier.cost = cost_of(parameters, progress.seconds, progress.peak, progress.tokens)
        classifier.validation = {
            "best_step": float(progress.best_step),
            f"best_validation_{self.training.metric}": (progress.best_score or (0.0,))[0],
        }
        return classifier
