"""Prediction by generation, one text at a time, the answer matched to the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.reference.recipe import Recipe, load


class Generator:
    """A base model with a trained adapter."""

    def __init__(
        self, recipe: Recipe, adapter: Path, prompt: str, labels: Sequence[str], answer_tokens: int
    ) -> None:
        """Args:
        recipe: base, precision and compute type.
        adapter: directory of a PEFT adapter.
        prompt: as in its training, with ``{text}``.
        labels: what an answer may be.
        answer_tokens: the longest answer.
        """
        self.prompt, self.labels, self.answer_tokens = prompt, labels, answer_tokens
        self.tokenizer = AutoTokenizer.from_pretrained(recipe.base)
        model = load(AutoModelForCausalLM, recipe, "lm_head")
        self.model = PeftModel.from_pretrained(model, str(adapter)).eval()

    def predict(self, text: str) -> list[str]:
        """The labels of one text; none when the answer names none."""
        return match(self.answer(text), self.labels)

    @torch.inference_mode()
    def answer(self, text: str) -> str:
        """What the model writes after the prompt, greedily."""
        asked = self.tokenizer(self.prompt.replace("{text}", text), return_tensors="pt")
        asked = asked.to(self.model.device)
        written = self.model.generate(
            **asked,
            max_new_tokens=self.answer_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        new = written[0, asked["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(new, skip_special_tokens=True))


def match(answer: str, labels: Sequence[str]) -> list[str]:
    """Labels that stand between commas or on lines of their own, else the first in the answer."""
    parts = {part.strip() for part in re.split(r"[,\n]", answer)}
    return [label for label in labels if label in parts] or [
        label for label in labels if label in answer
    ][:1]
