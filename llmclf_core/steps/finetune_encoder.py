"""The finetune-encoder step: BERT or its kin, from tokens to a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from llmclf_core.approaches.encoder import EncoderClassifier
from llmclf_core.config import BaseModelConfig, LoraConfig, TrainingConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.calibrate import fit_calibration
from llmclf_core.models.base import Base
from llmclf_core.models.encoder import EncoderModel, bare_encoder, load_encoder, most_tokens
from llmclf_core.models.lora import add_adapter
from llmclf_core.steps.scored import ScoredJob
from llmclf_core.training.loop import Logits, Task


def finetune_encoder(
    tokens_path: Path,
    base_config: BaseModelConfig,
    lora: LoraConfig | None,
    training: TrainingConfig,
    output: Path,
    seed: int = 0,
) -> EncoderClassifier:
    """Train an encoder, calibrate on the validation rows, save the classifier.

    Resumes as :meth:`llmclf_core.steps.neural.NeuralJob.run` says.

    Args:
        tokens_path: a saved :class:`Tokens`, made with the encoder's tokenizer.
        base_config: the encoder, quantisation (with ``lora`` only) and compute type.
        lora: the adapter; None trains all weights.
        training: the loop.
        output: directory of the classifier.
        seed: of everything random.

    Raises:
        UserError: for unreadable input, a base that is no encoder, settings that do not fit it, a
            loss that is not finite, an unwritable output.
    """
    return EncoderJob(tokens_path, base_config, lora, training, seed).run(output)


class EncoderJob(ScoredJob[EncoderModel, EncoderClassifier]):
    """Fine-tunes an encoder."""

    approach: ClassVar[str] = EncoderClassifier.approach

    def __init__(
        self,
        tokens_path: Path,
        base_config: BaseModelConfig,
        lora: LoraConfig | None,
        training: TrainingConfig,
        seed: int,
    ) -> None:
        own = {"lora": lora.model_dump() if lora else None}
        super().__init__(tokens_path, base_config, training, seed, own)
        self.lora = lora

    def build(self) -> EncoderModel:
        model = load_encoder(
            self.base, self.base_config, self.labels, self.encoder.pad_id, self.lora is not None
        )
        self._check_length(most_tokens(model))
        if self.training.gradient_checkpointing:
            model.model.gradient_checkpointing_enable({"use_reentrant": False})
        return self._adapted(model)

    def bare(self, directory: Path) -> EncoderModel:
        base = Base(self.base.source, None, directory, "")
        pad_id = self.encoder.pad_id
        return self._adapted(bare_encoder(base, self.labels, pad_id, self.lora is not None))

    def _adapted(self, model: EncoderModel) -> EncoderModel:
        if self.lora:
            source, exclude = self.base.source, model.head_modules()
            model.adapt(add_adapter(model.backbone, self.lora, source, exclude))
        return model

    def _check_length(self, most: int | None) -> None:
        if most is not None and self.encoder.config.max_length > most:
            raise UserError(
                f"encoder.tokenize.max_length is {self.encoder.config.max_length}, but "
                f"{self.base.source} has positions for {most} tokens"
            )

    def task(self, model: EncoderModel) -> Task:
        return self.scored_task(model, model.head_names())

    def classifier(self, model: EncoderModel, validation_logits: Logits) -> EncoderClassifier:
        return EncoderClassifier(
            model,
            self.encoder,
            self.labels,
            self.base,
            self.base_config,
            self.lora is not None,
            fit_calibration(validation_logits, self.validation_truth, self.labels),
        )
