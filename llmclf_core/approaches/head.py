"""The head approach: a classification head on the pooled embedding of an LLM with an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from llmclf_core.approaches.based import (
    ADAPTER,
    adapter_tensors,
    read_base,
    read_weights,
    save_weights,
)
from llmclf_core.approaches.pretrained import SequenceClassifier, read_encoder
from llmclf_core.config import HeadConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import load_backbone
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter
from llmclf_core.processes import device

HEAD_WEIGHTS = "head.safetensors"


class HeadClassifier(SequenceClassifier[HeadModel, HeadConfig]):
    """Adapter and head over a referenced base model; ``config`` holds pooling and layers."""

    approach: ClassVar[str] = "head"

    def _own_settings(self) -> dict[str, Any]:
        return {"head": self.config.model_dump()}

    def _own_tensors(self) -> dict[str, Tensor]:
        head = dict(self.model.head.named_parameters(prefix="head"))
        return adapter_tensors(self.model.backbone) | head

    def _scales(self) -> dict[str, float]:
        return adapter_scales(self.model.backbone)

    def _write_tensors(self, path: Path) -> None:
        save_adapter(self.model.backbone, path / ADAPTER)
        save_weights(self.model.head.state_dict(), path / HEAD_WEIGHTS)

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
        return cls(model, read_encoder(path, header), labels, found, config, head_config)


def hidden_size(backbone: Any) -> int:
    """Width of the hidden states."""
    return int(backbone.config.get_text_config().hidden_size)
