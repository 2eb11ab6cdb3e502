"""The instruct approach: an LLM with an adapter answers a prompt with the words of a label.

Answers are never parsed from text: only the labels' own words are scored, so no other answer can
occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
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
    read_base,
    tensors_fingerprint,
)
from llmclf_core.config import BaseModelConfig, InstructConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.answering import Answerer
from llmclf_core.models.base import Base
from llmclf_core.models.causal import load_causal
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter
from llmclf_core.tokens.instruct import InstructEncoder
from llmclf_core.tokens.prompt import Prompt
from llmclf_core.tokens.tokenize import copy_tokenizer

_OWN = {"length_normalization", "search_steps"}
"""What is needed of the settings once the prompt is rendered."""


class InstructClassifier(Classifier):
    """Adapter, prompt and answers over a referenced base model.

    Attributes:
        model: causal language model and adapter; it must not change after the first prediction.
        encoder: prompt, answers, and text to token ids, as in training.
        base: the base model.
        base_config: quantisation and compute type, with ``auto`` already resolved so that a
            reloaded classifier computes as the trained one did.
        config: how answers are scored and searched.
    """

    approach: ClassVar[str] = "instruct"

    def __init__(
        self,
        model: Any,
        encoder: InstructEncoder,
        labels: LabelSpace,
        base: Base,
        base_config: BaseModelConfig,
        config: InstructConfig,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.model, self.encoder, self.base = model, encoder, base
        self.base_config, self.config = base_config, config

    @cached_property
    def _answerer(self) -> Answerer:
        return make_answerer(self.model, self.encoder, self.config)

    def predict_logits(self, texts: Sequence[str], batch_size: int = 16) -> npt.NDArray[np.float32]:
        documents = [e.ids for e in self.encoder.encode(texts)]
        return self._answerer.answer(documents, batch_size).logits

    def decode(self, texts: Sequence[str], batch_size: int = 16) -> list[list[str]]:
        """The model's own best answer: its likeliest label, or set of labels, of each text.

        ``predict`` differs where calibrated thresholds do, and, when multi-label, in labels that
        are uncertain one by one.
        """
        documents = [e.ids for e in self.encoder.encode(texts)]
        answered = self._answerer.answer(documents, batch_size)
        return [self.labels.decode(ids) for ids in answered.labels]

    @property
    def fingerprint(self) -> str:
        settings = [
            self._settings(),
            self.labels.to_json(),
            vars(self.calibration),
            adapter_scales(self.model),
            self.encoder.fingerprint,
        ]
        return tensors_fingerprint(settings, adapter_tensors(self.model))

    def _settings(self) -> dict[str, Any]:
        return {
            "base": base_settings(self.base, self.base_config),
            "instruct": self.config.model_dump(include=_OWN),
            "prompt": self.encoder.prompt.to_json(),
            "tokenize": self.encoder.config.model_dump(),
        }

    def _write(self, path: Path) -> dict[str, Any]:
        save_adapter(self.model, path / ADAPTER)
        copy_tokenizer(self.encoder.directory, path / "tokenizer")
        return self._settings()

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> InstructClassifier:
        found, config = read_base(path, header["base"], base)
        tokenize = TokenizeConfig(**header["tokenize"])
        prompt = Prompt.from_json(header["prompt"])
        encoder = InstructEncoder(path / "tokenizer", tokenize, prompt, labels)
        model = load_causal(found, config, getattr(torch, config.dtype))
        adapted = load_adapter(model, path / ADAPTER)
        return cls(adapted, encoder, labels, found, config, InstructConfig(**header["instruct"]))


def make_answerer(model: Any, encoder: InstructEncoder, config: InstructConfig) -> Answerer:
    """What answers with these settings; the model must not change as long as it is used."""
    return Answerer(model, encoder, config.length_normalization, config.search_steps)
