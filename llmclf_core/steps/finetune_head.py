"""The finetune-head step: adapter and head on a frozen base, from tokens to a classifier."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from llmclf_core.approaches.head import HeadClassifier, batched_logits, hidden_size
from llmclf_core.artifacts import TRAIN, VALIDATION
from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.evaluation.calibrate import fit_calibration
from llmclf_core.models.base import load_backbone
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.probe import fit_probe
from llmclf_core.processes import device, process_state
from llmclf_core.steps.neural import NeuralJob
from llmclf_core.tokens.batching import Rows, pad
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import row_lengths
from llmclf_core.training.loop import Logits, Task
from llmclf_core.training.losses import balanced_weights, row_losses
from llmclf_core.training.validation import validation_metrics

log = logging.getLogger(__name__)

_BATCH = 16


def finetune_head(
    tokens_path: Path,
    base_config: BaseModelConfig,
    lora: LoraConfig,
    head: HeadConfig,
    training: TrainingConfig,
    output: Path,
    seed: int = 0,
) -> HeadClassifier:
    """Train adapter and head, calibrate on the validation rows, save the classifier.

    Resumes as :meth:`llmclf_core.steps.neural.NeuralJob.run` says.

    Args:
        tokens_path: a saved :class:`Tokens`, made with the tokenizer of the same base.
        base_config: the base model, quantisation and compute type.
        lora: the adapter.
        head: pooling and head.
        training: the loop.
        output: directory of the classifier.
        seed: of everything random.

    Raises:
        UserError: for unreadable input, settings that do not fit the base, a loss that is not
            finite, an unwritable output.
    """
    return _HeadJob(tokens_path, base_config, lora, head, training, seed).run(output)


class _HeadJob(NeuralJob[HeadModel, HeadClassifier]):
    approach: ClassVar[str] = HeadClassifier.approach

    def __init__(
        self,
        tokens_path: Path,
        base_config: BaseModelConfig,
        lora: LoraConfig,
        head: HeadConfig,
        training: TrainingConfig,
        seed: int,
    ) -> None:
        own = {"lora": lora.model_dump(), "head": head.model_dump()}
        super().__init__(tokens_path, base_config, training, seed, own)
        self.lora, self.head = lora, head
        self.train_ids = self.tokens.splits[TRAIN].select_columns("input_ids")
        self.validation_ids = self.tokens.splits[VALIDATION]["input_ids"]
        self.encoder = Encoder(self.tokens.tokenizer, TokenizeConfig(**self.tokens.recipe))

    def build(self) -> HeadModel:
        backbone = load_backbone(self.base, self.base_config, self.dtype)
        if self.training.gradient_checkpointing:
            backbone.gradient_checkpointing_enable({"use_reentrant": False})
        head = ClassificationHead(hidden_size(backbone), len(self.labels), self.head).to(device())
        model = HeadModel(add_adapter(backbone, self.lora, self.base.source), head)
        if self.head.init == "frozen" and not self.resuming:
            self._start_from_frozen(model)
        return model

    def _start_from_frozen(self, model: HeadModel) -> None:
        log.info("fitting the head on frozen embeddings")
        embeddings = pooled_embeddings(
            model,
            self.train_ids["input_ids"],
            self.encoder.pad_id,
            _BATCH,
            self.state / f"embeddings-{process_state().process_index}.npy",
        )
        weight, bias = fit_probe(embeddings, self.train_truth, self.labels.task)
        with torch.no_grad():
            model.head.out.weight.copy_(torch.from_numpy(weight))
            model.head.out.bias.copy_(torch.from_numpy(bias))

    def task(self, model: HeadModel) -> Task:
        weights = None
        if self.training.class_weights == "balanced":
            weights = balanced_weights(self.train_truth, self.labels.task).to(device())

        def loss(module: nn.Module, rows: Rows) -> Tensor:
            ids, mask = pad(self.train_ids[rows]["input_ids"], self.encoder.pad_id, device())
            truth = torch.from_numpy(self.train_truth[rows]).to(device(), torch.float32)
            logits = module(ids, mask)
            return row_losses(logits, truth, self.labels.task, self.training, weights).sum()

        def validate() -> tuple[dict[str, float], Logits]:
            logits = batched_logits(
                model, self.validation_ids, self.encoder.pad_id, len(self.labels), _BATCH
            )
            return validation_metrics(logits, self.validation_truth, self.labels), logits

        head = {f"head.{name}" for name, _ in model.head.named_parameters()}
        return Task(
            model,
            row_lengths(self.tokens.splits[TRAIN]),
            loss,
            validate,
            warm=self.head.init == "frozen",
            head=head,
        )

    def classifier(self, model: HeadModel, validation_logits: Logits) -> HeadClassifier:
        return HeadClassifier(
            model,
            self.encoder,
            self.labels,
            self.base,
            self.base_config,
            self.head,
            fit_calibration(validation_logits, self.validation_truth, self.labels),
        )
