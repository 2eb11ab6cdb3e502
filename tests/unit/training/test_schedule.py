import pytest
import torch
from transformers import get_scheduler

from llmclf_core.training.schedule import rate_factor


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_falls_as_transformers_does_after_the_warm_up(schedule):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_scheduler(schedule, optimizer, num_warmup_steps=0, num_training_steps=20)
    for step in range(20):
        expected = reference.get_last_lr()[0]
        assert rate_factor(step, 20, 0.0, schedule) == pytest.approx(expected)
        optimizer.step()
        reference.step()


def test_warm_up_rises_to_the_peak_and_never_starts_at_zero():
    factors = [rate_factor(step, 20, 0.2, "constant") for step in range(20)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(factors[4:]) == {1.0}
