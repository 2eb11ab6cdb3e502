"""Trainings of models that give a text's tokens one logit for each label (head, encoder)."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from llmclf_core.approaches.base import Classifier
from llmclf_core.approaches.based import batched_logits
from llmclf_core.artifacts import TRAIN, VALIDATION
from llmclf_core.config import TokenizeConfig
from llmclf_core.processes import device
from llmclf_core.steps.neural import NeuralJob
from llmclf_core.tokens.batching import PASS_ROWS, Rows, pad
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import row_lengths
from llmclf_core.training.loop import Logits, Task
from llmclf_core.training.losses import balanced_weights, row_losses
from llmclf_core.training.validation import validation_metrics

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=Classifier)


class ScoredJob(NeuralJob[M, C]):
    """A training whose model takes ids and mask, (batch, length), to logits (batch, n_labels).

    Attributes:
        train_ids: column ``input_ids`` of the training rows.
        validation_ids: the same of the validation rows, in memory.
        encoder: the tokenizer with the settings that made the tokens.
    """

    def __init__(self, *arguments: Any) -> None:
        """Arguments and errors as :class:`NeuralJob`."""
        super().__init__(*arguments)
        self.train_ids = self.tokens.splits[TRAIN].select_columns("input_ids")
        self.validation_ids = self.tokens.splits[VALIDATION]["input_ids"]
        self.encoder = Encoder(self.tokens.tokenizer, TokenizeConfig(**self.tokens.recipe))

    def scored_task(self, model: M, head: set[str], warm: bool = False) -> Task:
        """Loss by row and validation by logits; ``head`` and ``warm`` as :class:`Task` has them."""
        weights = None
        if self.training.class_weights == "balanced":
            weights = balanced_weights(self.train_truth, self.labels.task).to(device())

        def loss(module: nn.Module, rows: Rows) -> Tensor:
            ids, mask = pad(self.train_ids[rows]["input_ids"], self.encoder.pad_id, device())
            truth = torch.from_numpy(self.train_truth[rows]).to(device(), torch.float32)
            with self.frozen.given(TRAIN, rows):
                logits = module(ids, mask)
            return row_losses(logits, truth, self.labels.task, self.training, weights).sum()

        def validate() -> tuple[dict[str, float], Logits]:
            logits = batched_logits(
                model,
                self.validation_ids,
                self.encoder.pad_id,
                len(self.labels),
                PASS_ROWS,
                lambda rows: self.frozen.given(VALIDATION, rows),
            )
            return validation_metrics(logits, self.validation_truth, self.labels), logits

        lengths = row_lengths(self.tokens.splits[TRAIN])
        return Task(model, lengths, loss, validate, warm=warm, head=head)
