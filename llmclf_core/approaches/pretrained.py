"""What classifiers over a pretrained model are alike in: how they are remembered and recognised."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.approaches.based import base_settings, batched_logits, tensors_fingerprint
from llmclf_core.config import BaseModelConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import copy_tokenizer

TOKENIZER = "tokenizer"
"""Directory of the tokenizer inside a classifier's."""


class Reader(Protocol):
    """Text to token ids, as in training."""

    directory: Path
    config: TokenizeConfig

    @property
    def fingerprint(self) -> str:
        """Of all that decides the ids."""
        ...


M = TypeVar("M")
R = TypeVar("R", bound=Reader)
C = TypeVar("C")
Network = TypeVar("Network", bound=Callable[[Tensor, Tensor], Tensor])


class PretrainedClassifier(Classifier, Generic[M, R, C]):
    """A classifier over a pretrained model, which is referenced.

    Attributes:
        model: the network; it must not change after the first prediction.
        encoder: text to token ids, as in training.
        base: the base model.
        base_config: quantisation and compute type, with ``auto`` already resolved so that a
            reloaded classifier computes as the trained one did.
        config: what else the approach has to know to rebuild itself.
    """

    def __init__(
        self,
        model: M,
        encoder: R,
        labels: LabelSpace,
        base: Base,
        base_config: BaseModelConfig,
        config: C,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.model, self.encoder, self.base = model, encoder, base
        self.base_config, self.config = base_config, config

    @abstractmethod
    def _own_settings(self) -> dict[str, Any]:
        """What the header remembers beside base and tokenizer."""

    @abstractmethod
    def _own_tensors(self) -> Mapping[str, Tensor]:
        """What was trained, by name."""

    @abstractmethod
    def _write_tensors(self, path: Path) -> None:
        """Write what was trained into the classifier's directory."""

    def _scales(self) -> dict[str, float]:
        """The factor on each adapted layer's output; no tensor holds it."""
        return {}

    @property
    def fingerprint(self) -> str:
        settings = [
            self._settings(),
            self.labels.to_json(),
            vars(self.calibration),
            self._scales(),
            self.encoder.fingerprint,
        ]
        return tensors_fingerprint(settings, self._own_tensors())

    def _settings(self) -> dict[str, Any]:
        known = {"base": base_settings(self.base, self.base_config)}
        return known | self._own_settings() | {"tokenize": self.encoder.config.model_dump()}

    def _write(self, path: Path) -> dict[str, Any]:
        self._write_tensors(path)
        copy_tokenizer(self.encoder.directory, path / TOKENIZER)
        return self._settings()


class SequenceClassifier(PretrainedClassifier[Network, Encoder, C]):
    """One whose network gives a text's logits at once: ids and mask, (batch, length), to
    (batch, n_labels)."""

    def predict_logits(self, texts: Sequence[str], batch_size: int = 16) -> npt.NDArray[np.float32]:
        sequences = [e.ids for e in self.encoder.encode(texts)]
        return batched_logits(
            self.model, sequences, self.encoder.pad_id, len(self.labels), batch_size
        )


def read_encoder(path: Path, header: Mapping[str, Any]) -> Encoder:
    """The encoder of a saved :class:`SequenceClassifier`."""
    return Encoder(path / TOKENIZER, TokenizeConfig(**header["tokenize"]))
