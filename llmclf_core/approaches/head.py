"""The head approach: a classification head on the pooled embedding of an LLM with an adapter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.config import BaseModelConfig, HeadConfig, TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base, load_backbone, resolve
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter
from llmclf_core.processes import device
from llmclf_core.tokens.batching import pad, sorted_batches
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import copy_tokenizer

ADAPTER = "adapter"
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
        digest = hashlib.sha256()
        settings = [
            self._settings(),
            self.labels.to_json(),
            vars(self.calibration),
            adapter_scales(self.model.backbone),
        ]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        digest.update(self.encoder.fingerprint.encode())
        for name, tensor in sorted(self._own_tensors().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def _own_tensors(self) -> dict[str, Tensor]:
        adapter = {n: p for n, p in self.model.backbone.named_parameters() if "lora_" in n}
        return adapter | dict(self.model.head.named_parameters(prefix="head"))

    def _settings(self) -> dict[str, Any]:
        return {
            "base": self.base.reference()
            | {
                "quantization": self.base_config.quantization,
                "double_quantization": self.base_config.double_quantization,
                "dtype": self.base_config.dtype,
                "attention": self.base_config.attention,
            },
            "head": self.head_config.model_dump(),
            "tokenize": self.encoder.config.model_dump(),
        }

    def _write(self, path: Path) -> dict[str, Any]:
        save_adapter(self.model.backbone, path / ADAPTER)
        head = {k: v.detach().cpu().contiguous() for k, v in self.model.head.state_dict().items()}
        save_file(head, path / HEAD_WEIGHTS)
        copy_tokenizer(self.encoder.directory, path / "tokenizer")
        return self._settings()

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> HeadClassifier:
        reference = dict(header["base"])
        found = resolve(base or reference["source"], None if base else reference["revision"])
        check_base(path, reference, found)
        config = BaseModelConfig(
            **{k: v for k, v in reference.items() if k in BaseModelConfig.model_fields}
        )
        head_config = HeadConfig(**header["head"])
        backbone = load_backbone(found, config, getattr(torch, config.dtype))
        head = ClassificationHead(hidden_size(backbone), len(labels), head_config)
        read_head(path / HEAD_WEIGHTS, head)
        model = HeadModel(load_adapter(backbone, path / ADAPTER), head.to(device())).eval()
        recorded = Base(
            reference["source"], reference["revision"], found.directory, found.fingerprint
        )
        encoder = Encoder(path / "tokenizer", TokenizeConfig(**header["tokenize"]))
        return cls(model, encoder, labels, recorded, config, head_config)


def hidden_size(backbone: Any) -> int:
    """Width of the hidden states."""
    return int(backbone.config.get_text_config().hidden_size)


def check_base(path: Path, reference: dict[str, Any], found: Base) -> None:
    """Raises UserError when ``found`` is not the base that the classifier was trained on."""
    if found.fingerprint != reference["fingerprint"]:
        raise UserError(
            f"{path} was trained on base model {reference['source']} (fingerprint "
            f"{reference['fingerprint']}), but {found.directory} is another one "
            f"(fingerprint {found.fingerprint}); give the right base model"
        )


def read_head(path: Path, head: ClassificationHead) -> None:
    """Load head weights in place.

    Raises:
        UserError: when the file is missing, truncated or of another shape.
    """
    try:
        head.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"cannot read the head weights {path}: {error}; the file is damaged, train or fetch "
            "the classifier again"
        ) from None


@torch.inference_mode()
def batched_logits(
    model: HeadModel,
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    n_labels: int,
    batch_size: int,
) -> npt.NDArray[np.float32]:
    """Logits of token sequences in batches of like length, float32, (n, n_labels)."""
    logits = np.zeros((len(sequences), n_labels), dtype=np.float32)
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    for rows in sorted_batches(lengths, batch_size):
        ids, mask = pad([sequences[i] for i in rows], pad_id, device())
        logits[rows] = model(ids, mask).float().cpu().numpy()
    return logits
