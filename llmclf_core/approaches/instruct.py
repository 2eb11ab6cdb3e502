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
from torch import Tensor

from llmclf_core.approaches.based import ADAPTER, adapter_tensors, read_base
from llmclf_core.approaches.pretrained import TOKENIZER, PretrainedClassifier
from llmclf_core.config import InstructConfig, TokenizeConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.answering import Answerer
from llmclf_core.models.causal import load_causal
from llmclf_core.models.lora import adapter_scales, load_adapter, save_adapter
from llmclf_core.tokens.instruct import InstructEncoder
from llmclf_core.tokens.prompt import Prompt

_OWN = {"length_normalization", "search_steps"}
"""What is needed of the settings once the prompt is rendered."""


class InstructClassifier(PretrainedClassifier[Any, InstructEncoder, InstructConfig]):
    """Adapter, prompt and answers over a referenced base model.

    ``model`` is the causal language model with its adapter, ``encoder`` knows prompt and answers,
    ``config`` says how answers are scored and searched.
    """

    approach: ClassVar[str] = "instruct"

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

    def _own_settings(self) -> dict[str, Any]:
        return {
            "instruct": self.config.model_dump(include=_OWN),
            "prompt": self.encoder.prompt.to_json(),
        }

    def _own_tensors(self) -> dict[str, Tensor]:
        return adapter_tensors(self.model)

    def _scales(self) -> dict[str, float]:
        return adapter_scales(self.model)

    def _write_tensors(self, path: Path) -> None:
        save_adapter(self.model, path / ADAPTER)

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> InstructClassifier:
        found, config = read_base(path, header["base"], base)
        tokenize = TokenizeConfig(**header["tokenize"])
        prompt = Prompt.from_json(header["prompt"])
        encoder = InstructEncoder(path / TOKENIZER, tokenize, prompt, labels)
        model = load_causal(found, config, getattr(torch, config.dtype))
        adapted = load_adapter(model, path / ADAPTER)
        return cls(adapted, encoder, labels, found, config, InstructConfig(**header["instruct"]))


def make_answerer(model: Any, encoder: InstructEncoder, config: InstructConfig) -> Answerer:
    """What answers with these settings; the model must not change as long as it is used."""
    return Answerer(model, encoder, config.length_normalization, config.search_steps)
