"""Parameters without weights are those of the real model."""

import pytest
import torch

from llmclf_core.config import LoraConfig
from llmclf_core.planning.parameters import count


@pytest.mark.parametrize(
    ("approach", "lora"),
    [
        ("head", LoraConfig(rank=4)),
        ("head", LoraConfig(rank=4, top_layers=2, targets=["q_proj"])),
        ("instruct", LoraConfig(rank=4)),
        ("encoder", None),
        ("encoder", LoraConfig(rank=4)),
    ],
    ids=["head", "head, some", "instruct", "encoder", "encoder, adapter"],
)
def test_counts_are_those_of_the_loaded_model(job_for, approach, lora):
    job = job_for(approach, lora=lora)
    model = job.build()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert count(job, job.base.directory) == (trained, frozen)
    assert (frozen == 0) == (lora is None)


def test_quantisation_does_not_change_how_many_there_are(job_for):
    plain, quantized = job_for("head"), job_for("head", quantization="nf4")
    whole = plain.base.directory
    assert count(quantized, whole) == count(plain, whole)


def test_nothing_is_allocated(job_for):
    job = job_for("encoder", lora=None)
    with torch.device("meta"):
        model = job.bare(job.base.directory)
    assert {p.device.type for p in model.parameters()} == {"meta"}
