"""How each approach is trained for the conformance suite; a new approach adds one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmclf_core.approaches import Classifier
from llmclf_core.artifacts import Corpus
from llmclf_core.config import (
    BaseModelConfig,
    EncoderTrainingConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    ProbeConfig,
    TfidfConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.steps.finetune_encoder import finetune_encoder
from llmclf_core.steps.finetune_head import finetune_head
from llmclf_core.steps.finetune_instruct import finetune_instruct
from llmclf_core.steps.fit_probe import fit_probe
from llmclf_core.steps.fit_tfidf import fit_tfidf
from llmclf_core.tokens.tokenize import tokenize
from tests.conftest import build_tiny_encoder, make_corpus


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


MERGED = 1e-5
"""A loaded adapter is merged into float32 weights, which rounds anew; NF4 is unpacked anew."""

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
    return Subject(classifier, tmp / "classifier", base, MERGED)


def head_nf4(corpus: Path, base: Path, tmp: Path) -> Subject:
    return head(corpus, base, tmp, "nf4")


def instruct(corpus: Path, base: Path, tmp: Path, quantization: str = "none") -> Subject:
    config = BaseModelConfig(source=str(base), dtype="float32", quantization=quantization)
    # A random model looks at all tokens alike: a short prompt hides the text least.
    settings = InstructConfig(prompt="{labels}{text}", verbalizer="letter")
    task = Corpus.load(corpus).labels.task
    make_corpus({"train": 200, "validation": 20}, task).save(tmp / "corpus")
    tokenize(tmp / "corpus", config, TokenizeConfig(max_length=160), tmp / "tokens", settings)
    classifier = finetune_instruct(
        tmp / "tokens",
        config,
        LoraConfig(rank=8),
        settings,
        TrainingConfig(epochs=4, learning_rate=2e-3),
        tmp / "classifier",
    )
    return Subject(classifier, tmp / "classifier", base, MERGED)


def instruct_nf4(corpus: Path, base: Path, tmp: Path) -> Subject:
    return instruct(corpus, base, tmp, "nf4")


def tfidf(corpus: Path, base: Path, tmp: Path) -> Subject:
    return Subject(fit_tfidf(corpus, TfidfConfig(), tmp / "classifier"), tmp / "classifier", None)


def probe(corpus: Path, base: Path, tmp: Path, quantization: str = "none") -> Subject:
    config = BaseModelConfig(source=str(base), dtype="float32", quantization=quantization)
    # Random embeddings say little of a text: it takes more rows to learn from them.
    task = Corpus.load(corpus).labels.task
    make_corpus({"train": 200, "validation": 40}, task).save(tmp / "corpus")
    tokenize(tmp / "corpus", config, TokenizeConfig(max_length=128), tmp / "tokens")
    classifier = fit_probe(tmp / "tokens", config, ProbeConfig(), tmp / "classifier")
    tolerance = 1e-5 if quantization == "nf4" else 1e-6
    return Subject(classifier, tmp / "classifier", base, tolerance)


def probe_nf4(corpus: Path, base: Path, tmp: Path) -> Subject:
    return probe(corpus, base, tmp, "nf4")


def encoder(corpus: Path, base: Path, tmp: Path, lora: LoraConfig | None = None) -> Subject:
    own = build_tiny_encoder(tmp / "encoder")
    config = BaseModelConfig(source=str(own), dtype="float32")
    tokenize(corpus, config, TokenizeConfig(max_length=128), tmp / "tokens")
    classifier = finetune_encoder(
        tmp / "tokens",
        config,
        lora,
        EncoderTrainingConfig(epochs=8, learning_rate=5e-3 if lora else 1e-3),
        tmp / "classifier",
    )
    if lora is None:
        return Subject(classifier, tmp / "classifier", None)
    return Subject(classifier, tmp / "classifier", own, MERGED)


def encoder_lora(corpus: Path, base: Path, tmp: Path) -> Subject:
    return encoder(corpus, base, tmp, LoraConfig(rank=4))


FACTORIES: dict[str, dict[str, Factory]] = {
    "tfidf": {"plain": tfidf},
    "probe": {"fp32": probe, "nf4": probe_nf4},
    "encoder": {"full": encoder, "lora": encoder_lora},
    "head": {"fp32": head, "nf4": head_nf4},
    "instruct": {"fp32": instruct, "nf4": instruct_nf4},
}
"""For each approach its variants."""
