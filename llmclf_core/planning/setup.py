"""One training, by its settings."""

from __future__ import annotations

from typing import Literal

from llmclf_core.config import (
    BaseModelConfig,
    EncoderConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    Recipe,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.config.sections import Section

Neural = Literal["encoder", "head", "instruct"]
NEURAL: tuple[Neural, ...] = ("encoder", "head", "instruct")


class Setup(Section):
    """What a neural approach's training step is given beside tokens and seed."""

    approach: Neural
    base: BaseModelConfig
    training: TrainingConfig
    lora: LoraConfig | None = None
    """Unset: all weights are trained (encoder)."""
    head: HeadConfig = HeadConfig()
    instruct: InstructConfig = InstructConfig()


def setup_of(recipe: Recipe, approach: Neural) -> tuple[Setup, TokenizeConfig]:
    """The training of an approach, as the pipeline's steps will have it, and its tokens' rules."""
    if approach == "encoder":
        own: EncoderConfig = recipe.encoder
        setup = Setup(approach=approach, base=own.base, training=own.training, lora=own.lora)
        return setup, own.tokenize
    instructed = recipe.instruct if approach == "instruct" else InstructConfig()
    setup = Setup(
        approach=approach,
        base=recipe.base,
        training=instructed.training or recipe.training,
        lora=instructed.lora or recipe.lora,
        head=recipe.head,
        instruct=instructed,
    )
    return setup, instructed.tokenize or recipe.tokenize
