"""A fine-tuning's cost counts what the probe's counts: loading the base and embedding the rows."""

import time

import pytest

from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.steps import finetune_head as step
from llmclf_core.tokens.tokenize import tokenize


@pytest.mark.parametrize("slow", ["load_backbone", "pooled_embeddings"])
def test_building_the_model_counts(corpus_path, tiny_base, tmp_path, monkeypatch, slow):
    plain, base = getattr(step, slow), BaseModelConfig(source=str(tiny_base), dtype="float32")

    def slowly(*arguments, **options):
        time.sleep(3.0)
        return plain(*arguments, **options)

    monkeypatch.setattr(step, slow, slowly)
    tokenize(corpus_path, base, TokenizeConfig(max_length=32), tmp_path / "t")
    head, training = HeadConfig(init="frozen"), TrainingConfig(epochs=1)

    def train(name):
        begun = time.monotonic()
        lora = LoraConfig(rank=2)
        cost = step.finetune_head(tmp_path / "t", base, lora, head, training, tmp_path / name).cost
        return cost, time.monotonic() - begun

    first, seconds = train("a")
    assert 3.0 < first["train_seconds"] < seconds
    again, _ = train("b")
    assert again == first  # the finished training of before: its own cost
