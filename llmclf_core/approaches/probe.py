"""The frozen probe: logistic regression on the embeddings of an LLM that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from llmclf_core.approaches.based import read_base, read_weights, save_weights
from llmclf_core.approaches.head import hidden_size
from llmclf_core.approaches.pretrained import SequenceClassifier, read_encoder
from llmclf_core.config import BaseModelConfig, HeadConfig, ProbeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base, load_backbone
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.processes import device

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


class ProbeClassifier(SequenceClassifier[HeadModel, ProbeConfig]):
    """One linear layer over a referenced base model; ``config`` holds the pooling."""

    approach: ClassVar[str] = "probe"

    def _own_settings(self) -> dict[str, Any]:
        return {"probe": self.config.model_dump()}

    def _own_tensors(self) -> dict[str, Tensor]:
        return dict(self.model.head.state_dict())

    def _write_tensors(self, path: Path) -> None:
        save_weights(self._own_tensors(), path / WEIGHTS)

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> ProbeClassifier:
        found, base_config = read_base(path, header["base"], base)
        config = ProbeConfig(**header["probe"])
        model = frozen_model(found, base_config, config, len(labels))
        read_weights(path / WEIGHTS, model.head.state_dict())
        return cls(model, read_encoder(path, header), labels, found, base_config, config)
