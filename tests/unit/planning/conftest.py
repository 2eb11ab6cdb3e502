"""Trainings of tiny models, ready to be planned."""

import pytest

from llmclf_core.config import (
    BaseModelConfig,
    InstructConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.planning.setup import Setup
from llmclf_core.steps.rehearse import make_job
from llmclf_core.tokens.tokenize import tokenize

_ADAPTER = LoraConfig(rank=4)


@pytest.fixture
def setup_for(tiny_base, tiny_encoder):
    """The settings of an approach's training."""

    def make(approach, lora=_ADAPTER, quantization="none", **training):
        source = str(tiny_encoder if approach == "encoder" else tiny_base)
        return Setup(
            approach=approach,
            base=BaseModelConfig(source=source, dtype="float32", quantization=quantization),
            training=TrainingConfig(**{"epochs": 2, "batch_size": 4} | training),
            lora=lora,
            instruct=InstructConfig(prompt="{labels}\n{text}"),
        )

    return make


@pytest.fixture
def job_for(setup_for, corpus_path, tmp_path):
    """The training itself."""

    def make(approach, **settings):
        setup = setup_for(approach, **settings)
        instruct = setup.instruct if approach == "instruct" else None
        rules = TokenizeConfig(max_length=64)
        tokenize(corpus_path, setup.base, rules, tmp_path / "tokens", instruct)
        return make_job(setup.model_dump(), tmp_path / "tokens")

    return make
