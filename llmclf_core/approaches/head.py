"""The head approach: a classification head on the pooled embedding of an LLM with an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.approaches.based import (
    ADAPTER,
    adapter_tensors,
    base_settings,
    batched_logits,
    read_base,
    read_weights,
    save_weights,
    tensors_fingerprint,
)
from llmclf_core.config import BaseModelConfig, HeadConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base, load_backbone
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter
from llmclf_core.processes import device
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import copy_tokenizer

HEAD_WEIGHTS = "head.safetensors"


class HeadClassifier(Classifier):
    """Adapter and head over a referenced base model.

    Attributes:
        model: backbone, adapter and head.
        encoder: text to token ids, as in training.
        base: the base model.
        base_config: quantisation and compute type, with ``auto`` already resolved so that a
            reloaded classifier computes as the trained one did.
        head_config: pooling and layers.
    """

    approach: ClassVar[str] = "head"

    def __init__(
        self,
        model: HeadModel,
        encoder: Encoder,
        labels: LabelSpace,
        base: Base,
        base_config: BaseModelConfig,
        head_config: HeadConfig,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.model, self.encoder, self.base = model, encoder, base
        self.base_config, self.head_config = base_config, head_config

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
            adapter_scales(self.model.backbone),
            self.encoder.fingerprint,
        ]
        head = dict(self.model.head.named_parameters(prefix="head"))
        return tensors_fingerprint(settings, adapter_tensors(self.model.backbone) | head)

    def _settings(self) -> dict[str, Any]:
        return {
            "base": base_settings(self.base, self.base_config),
            "head": self.head_config.model_dump(),
            "tokenize": self.encoder.config.model_dump(),
        }

    def _write(self, path: Path) -> dict[str, Any]:
        save_adapter(self.model.backbone, path / ADAPTER)
        save_weights(self.model.head.state_dict(), path / HEAD_WEIGHTS)
        copy_tokenizer(self.encoder.directory, path / "tokenizer")
        return self._settings()

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> HeadClassifier:
        found, config = read_base(path, header["base"], base)
        head_config = HeadConfig(**header["head"])
        backbone = load_backbone(found, config, getattr(torch, config.dtype))
        head = ClassificationHead(hidden_size(backbone), len(labels), head_config)
        read_weights(path / HEAD_WEIGHTS, head.state_dict())
        model = HeadModel(load_adapter(backbone, path / ADAPTER), head.to(device())).eval()
        encoder = Encoder(path / "tokenizer", TokenizeConfig(**header["tokenize"]))
        return cls(model, encoder, labels, found, config, head_config)


def hidden_size(backbone: Any) -> int:
    """Width of the hidden states."""
    return int(backbone.config.get_text_config().hidden_size)
