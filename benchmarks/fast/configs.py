"""The product's settings for a size."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fast.work import Settings
from benchmarks.reference.instruct import PROMPT
from llmclf_core.config import (
    BaseModelConfig,
    IngestConfig,
    InstructConfig,
    LabelColumns,
    LoraConfig,
    SplitConfig,
    TokenizeConfig,
    TrainingConfig,
)


def base_config(settings: Settings, base: Path) -> BaseModelConfig:
    return BaseModelConfig(
        source=str(base),
        quantization="nf4" if settings.precision == "nf4" else "none",
        dtype=settings.dtype or "auto",
    )


def tokenize_config(settings: Settings) -> TokenizeConfig:
    return TokenizeConfig(max_length=settings.max_length)


def instruct_config() -> InstructConfig:
    """The paper's prompt; ``Answer:`` stands in the place of its ``label:``."""
    return InstructConfig(prompt=PROMPT.removesuffix("\nlabel:"), chat="plain")


def lora_config(settings: Settings) -> LoraConfig:
    return LoraConfig(rank=16, alpha=16, dropout=0.05, top_layers=settings.top_layers)


def training_config(settings: Settings) -> TrainingConfig:
    """The reference recipe's; nothing is saved on the way, as there."""
    return TrainingConfig(
        epochs=settings.epochs,
        batch_size=settings.ours_batch,
        accumulation=settings.batch // settings.ours_batch,
        learning_rate=2e-4,
        weight_decay=0.01,
        schedule="linear",
        warmup=0.0,
        patience=0,
        checkpoint_seconds=1e9,
        frozen_layers="compute" if settings.top_layers is None else "cache",
    )


def bbc_config(source: Path) -> IngestConfig:
    return IngestConfig(source=str(source), format="folder", bad_bytes="replace")


def tags_config(source: Path) -> IngestConfig:
    labels = LabelColumns(columns=["labels"], layout="list", task="multi")
    return IngestConfig(source=str(source), id="id", labels=labels)


def sentences_config(source: Path) -> IngestConfig:
    """Nearly all rows are for training: test rows are never encoded."""
    return IngestConfig(source=str(source), id="id", split=SplitConfig(validation=0.05, test=0.01))
