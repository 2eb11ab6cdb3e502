"""The encoder approach: BERT or its kin, fine-tuned as a whole or by an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from llmclf_core.approaches.based import (
    ADAPTER,
    adapter_tensors,
    base_config_of,
    read_base,
    read_weights,
    save_weights,
)
from llmclf_core.approaches.pretrained import SequenceClassifier, read_encoder
from llmclf_core.config import BaseModelConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base
from llmclf_core.models.encoder import EncoderModel, load_encoder
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter

HEAD_WEIGHTS = "head.safetensors"
MODEL = "model"
"""Directory of a model that was trained as a whole; transformers reads it too."""


class EncoderClassifier(SequenceClassifier[EncoderModel, bool]):
    """An encoder whose weights were all trained, or an adapter and head over a referenced one.

    The first is whole by itself: its base is on record, but not needed. ``config`` says whether
    it is the second.
    """

    approach: ClassVar[str] = "encoder"

    @property
    def lora(self) -> bool:
        """Whether the base stays as it was, under an adapter."""
        return self.config

    def _own_settings(self) -> dict[str, Any]:
        return {"lora": self.lora}

    def _own_tensors(self) -> dict[str, Tensor]:
        if not self.lora:
            return dict(self.model.model.named_parameters())
        return adapter_tensors(self.model.backbone) | dict(self.model.head)

    def _scales(self) -> dict[str, float]:
        return adapter_scales(self.model.backbone) if self.lora else {}

    def _write_tensors(self, path: Path) -> None:
        if self.lora:
            save_adapter(self.model.backbone, path / ADAPTER)
            save_weights(self.model.head, path / HEAD_WEIGHTS)
        else:
            self.model.model.save_pretrained(path / MODEL)

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> EncoderClassifier:
        encoder = read_encoder(path, header)
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
