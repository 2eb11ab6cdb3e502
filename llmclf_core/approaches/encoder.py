"""The encoder approach: BERT or its kin, fine-tuned as a whole or by an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.approaches.based import (
    ADAPTER,
    adapter_tensors,
    base_config_of,
    base_settings,
    batched_logits,
    read_base,
    read_weights,
    save_weights,
    tensors_fingerprint,
)
from llmclf_core.config import BaseModelConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base
from llmclf_core.models.encoder import EncoderModel, load_encoder
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import copy_tokenizer

HEAD_WEIGHTS = "head.safetensors"
MODEL = "model"
"""Directory of a model that was trained as a whole; transformers reads it too."""


class EncoderClassifier(Classifier):
    """An encoder whose weights were all trained, or an adapter and head over a referenced one.

    The first is whole by itself: its base is on record, but not needed.

    Attributes:
        model: the encoder.
        encoder: text to token ids, as in training.
        base: the base model.
        base_config: quantisation and compute type, with ``auto`` already resolved.
        lora: whether the base stays as it was, under an adapter.
    """

    approach: ClassVar[str] = "encoder"

    def __init__(
        self,
        model: EncoderModel,
        encoder: Encoder,
        labels: LabelSpace,
        base: Base,
        base_config: BaseModelConfig,
        lora: bool,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.model, self.encoder, self.base = model, encoder, base
        self.base_config, self.lora = base_config, lora

    def predict_logits(self, texts: Sequence[str], batch_size: int = 16) -> npt.NDArray[np.float32]:
        sequences = [e.ids for e in self.encoder.encode(texts)]
        return batched_logits(
            self.model, sequences, self.encoder.pad_id, len(self.labels), batch_size
        )

    @property
    def fingerprint(self) -> str:
        settings = [
            self._settings(),
            self.labels.to_json(),
            vars(self.calibration),
            adapter_scales(self.model.backbone) if self.lora else {},
            self.encoder.fingerprint,
        ]
        return tensors_fingerprint(settings, self._own_tensors())

    def _own_tensors(self) -> dict[str, Tensor]:
        if not self.lora:
            return dict(self.model.model.named_parameters())
        return adapter_tensors(self.model.backbone) | dict(self.model.head)

    def _settings(self) -> dict[str, Any]:
        return {
            "base": base_settings(self.base, self.base_config),
            "lora": self.lora,
            "tokenize": self.encoder.config.model_dump(),
        }

    def _write(self, path: Path) -> dict[str, Any]:
        if self.lora:
            save_adapter(self.model.backbone, path / ADAPTER)
            save_weights(self.model.head, path / HEAD_WEIGHTS)
        else:
            self.model.model.save_pretrained(path / MODEL)
        copy_tokenizer(self.encoder.directory, path / "tokenizer")
        return self._settings()

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> EncoderClassifier:
        encoder = Encoder(path / "tokenizer", TokenizeConfig(**header["tokenize"]))
        read = _read_adapted if header["lora"] else _read_whole
        model, found, config = read(path, header["base"], labels, encoder.pad_id, base)
        return cls(model, encoder, labels, found, config, header["lora"])


def _read_adapted(
    path: Path, reference: dict[str, Any], labels: LabelSpace, pad_id: int, base: str | None
) -> tuple[EncoderModel, Base, BaseModelConfig]:
    found, config = read_base(path, reference, base)
    model = load_encoder(found, config, labels, pad_id, frozen=True)
    read_weights(path / HEAD_WEIGHTS, model.head)
    model.adapt(load_adapter(model.backbone, path / ADAPTER))
    return model.eval(), found, config


def _read_whole(
    path: Path, reference: dict[str, Any], labels: LabelSpace, pad_id: int, base: str | None
) -> tuple[EncoderModel, Base, BaseModelConfig]:
    config = base_config_of(reference)
    source, revision, fingerprint = (reference[k] for k in ("source", "revision", "fingerprint"))
    whole = Base(source, revision, path / MODEL, fingerprint)
    return load_encoder(whole, config, labels, pad_id, frozen=False), whole, config
