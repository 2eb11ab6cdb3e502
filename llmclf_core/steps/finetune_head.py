"""The finetune-head step: adapter and head on a frozen base, from tokens to a classifier."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from transformers import AutoModel

from llmclf_core.approaches.head import HeadClassifier, hidden_size
from llmclf_core.artifacts import TRAIN, VALIDATION
from llmclf_core.config import BaseModelConfig, HeadConfig, LoraConfig, TrainingConfig
from llmclf_core.evaluation.calibrate import fit_calibration
from llmclf_core.models.base import bare_model, load_backbone
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.probe import fit_probe
from llmclf_core.processes import process_state
from llmclf_core.steps.frozen import Frozen, Pass, frozen_layers
from llmclf_core.steps.scored import ScoredJob
from llmclf_core.tokens.batching import PASS_ROWS
from llmclf_core.training.loop import Logits, Task

log = logging.getLogger(__name__)


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
    return HeadJob(tokens_path, base_config, lora, head, training, seed).run(output)


class HeadJob(ScoredJob[HeadModel, HeadClassifier]):
    """Trains a head and an adapter."""

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

    def build(self) -> HeadModel:
        backbone = load_backbone(self.base, self.base_config, self.dtype)
        if self.training.gradient_checkpointing:
            backbone.gradient_checkpointing_enable({"use_reentrant": False})
        return self._assemble(backbone)

    def bare(self, directory: Path) -> HeadModel:
        return self._assemble(bare_model(AutoModel, directory))

    def _assemble(self, backbone: Any) -> HeadModel:
        head = ClassificationHead(hidden_size(backbone), len(self.labels), self.head)
        adapted = add_adapter(backbone, self.lora, self.base.source)
        return HeadModel(adapted, head.to(backbone.device))

    def shortcut(self, model: HeadModel) -> AbstractContextManager[Frozen]:
        texts = {TRAIN: self.train_ids["input_ids"], VALIDATION: self.validation_ids}
        way = Pass(model.backbone, model.hidden_states, self.encoder.pad_id)
        return frozen_layers(way, self.training, self.frozen_key(), texts)

    def _start_from_frozen(self, model: HeadModel) -> None:
        log.info("fitting the head on frozen embeddings")
        embeddings = pooled_embeddings(
            model,
            self.train_ids["input_ids"],
            self.encoder.pad_id,
            PASS_ROWS,
            self.state / f"embeddings-{process_state().process_index}.npy",
            around=lambda rows: self.frozen.given(TRAIN, rows),
        )
        model.head.fill(*fit_probe(embeddings, self.train_truth, self.labels.task))

    def task(self, model: HeadModel) -> Task:
        if self.head.init == "frozen" and not self.resuming:
            self._start_from_frozen(model)
        head = {f"head.{name}" for name, _ in model.head.named_parameters()}
        return self.scored_task(model, head, warm=self.head.init == "frozen")

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
