"""How each approach is trained for the conformance suite; a new approach adds one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmclf_core.approaches import Classifier
from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.steps.finetune_head import finetune_head
from llmclf_core.tokens.tokenize import tokenize


@dataclass(frozen=True)
class Subject:
    """A trained classifier under examination.

    Attributes:
        classifier: as it came out of training.
        path: where training has saved it.
        base: directory of its base model; None for an approach without one.
        reload_tolerance: largest difference of logits between it and its reloaded self.
    """

    classifier: Classifier
    path: Path
    base: Path | None
    reload_tolerance: float = 1e-6


Factory = Callable[[Path, Path, Path], Subject]
"""(corpus, base model, scratch directory) to a trained classifier."""


def head(corpus: Path, base: Path, tmp: Path, quantization: str = "none") -> Subject:
    config = BaseModelConfig(source=str(base), dtype="float32", quantization=quantization)
    tokenize(corpus, config, TokenizeConfig(max_length=128), tmp / "tokens")
    classifier = finetune_head(
        tmp / "tokens",
        config,
        LoraConfig(rank=4),
        HeadConfig(init="frozen"),
        TrainingConfig(epochs=2, learning_rate=3e-3),
        tmp / "classifier",
    )
    tolerance = 1e-5 if quantization == "nf4" else 1e-6
    return Subject(classifier, tmp / "classifier", base, tolerance)


def head_nf4(corpus: Path, base: Path, tmp: Path) -> Subject:
    return head(corpus, base, tmp, "nf4")


FACTORIES: dict[str, dict[str, Factory]] = {"head": {"fp32": head, "nf4": head_nf4}}
"""For each approach its variants."""
