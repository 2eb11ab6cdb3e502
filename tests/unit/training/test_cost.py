import sys

import numpy as np
import pytest
import torch
from torch import nn

from llmclf_core.training.checkpoint import Progress
from llmclf_core.training.cost import peak_memory_bytes, training_cost
from tests.conftest import missing_service


def test_figures():
    model = nn.Sequential(nn.Linear(10, 5), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    cost = training_cost(model, Progress(step=3, seconds=4.0, tokens=1000))
    assert cost["trained_parameters"] == 5 * 2 + 2
    assert cost["train_seconds"] == 4
    assert cost["train_tokens_per_second"] == 250
    assert ("peak_gpu_memory_mb" in cost) is torch.cuda.is_available()
    assert cost["peak_memory_mb"] == pytest.approx(peak_memory_bytes() / 1e6)


def test_no_time_spent():
    cost = training_cost(nn.Linear(2, 2), Progress())
    assert cost["train_tokens_per_second"] == 0


def test_peak_memory_is_in_bytes():
    if sys.platform != "linux":
        missing_service("peak memory is checked against /proc, which this system does not have")
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    assert peak_memory_bytes() == pytest.approx(int(line.split()[1]) * 1024, rel=0.02)


def test_peak_memory_grows():
    before = peak_memory_bytes()
    held = np.ones(before // 8 + (64 << 20) // 8)  # more than was ever held, by 64 MiB
    assert peak_memory_bytes() >= before + (60 << 20)
    assert held.any()
