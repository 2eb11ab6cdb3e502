"""The frozen probe: logistic regression on the embeddings of an LLM that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.approaches.based import (
    base_settings,
    batched_logits,
    read_base,
    read_weights,
    save_weights,
    tensors_fingerprint,
)
from llmclf_core.approaches.head import hidden_size
from llmclf_core.config import BaseModelConfig, HeadConfig, ProbeConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base, load_backbone
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.processes import device
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import copy_tokenizer

WEIGHTS = "probe.safetensors"


def frozen_model(
    base: Base, config: BaseModelConfig, probe: ProbeConfig, n_labels: int
) -> HeadModel:
    """The base under a linear layer, which is to be filled.

    Raises:
        UserError: for weights that transformers cannot load.
    """
    dtype = getattr(torch, config.dtype)
    backbone = load_backbone(base, config, dtype)
    head = ClassificationHead(hidden_size(backbone), n_labels, HeadConfig(pooling=probe.pooling))
    return HeadModel(backbone, head.to(device())).eval()


class ProbeClassifier(Classifier):
    """One linear layer over a referenced base model.

    Attributes:
        model: the base and the layer.
        encoder: text to token ids, as in training.
        base: the base model.
        base_config: quantisation and compute type, with ``auto`` already resolved.
        config: pooling.
    """

    approach: ClassVar[str] = "probe"

    def __init__(
        self,
        model: HeadModel,
        encoder: Encoder,
        labels: LabelSpace,
        base: Base,
        base_config: BaseModelConfig,
        config: ProbeConfig,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.model, self.encoder, self.base = model, encoder, base
        self.base_config, self.config = base_config, config

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
            self.encoder.fingerprint,
        ]
        return tensors_fingerprint(settings, self.model.head.state_dict())

    def _settings(self) -> dict[str, Any]:
        return {
            "base": base_settings(self.base, self.base_config),
            "probe": self.config.model_dump(),
            "tokenize": self.encoder.config.model_dump(),
        }

    def _write(self, path: Path) -> dict[str, Any]:
        save_weights(self.model.head.state_dict(), path / WEIGHTS)
        copy_tokenizer(self.encoder.directory, path / "tokenizer")
        return self._settings()

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> ProbeClassifier:
        found, base_config = read_base(path, header["base"], base)
        config = ProbeConfig(**header["probe"])
        model = frozen_model(found, base_config, config, len(labels))
        read_weights(path / WEIGHTS, model.head.state_dict())
        encoder = Encoder(path / "tokenizer", TokenizeConfig(**header["tokenize"]))
        return cls(model, encoder, labels, found, base_config, config)
