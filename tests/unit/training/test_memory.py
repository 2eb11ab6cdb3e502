import sys

import numpy as np
import pytest
import torch

from llmclf_core.training.memory import Peak, peak_gpu_memory_bytes, peak_memory_bytes
from tests.conftest import missing_service


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


def test_gpu_memory(monkeypatch):
    if not torch.cuda.is_available():
        assert peak_gpu_memory_bytes() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    assert peak_gpu_memory_bytes() == 7
    monkeypatch.delitem(sys.modules, "torch")
    assert peak_gpu_memory_bytes() == 0


def test_larger_of_before_and_now(monkeypatch):
    monkeypatch.setattr("llmclf_core.training.memory.peak_memory_bytes", lambda: 5)
    monkeypatch.setattr("llmclf_core.training.memory.peak_gpu_memory_bytes", lambda: 3)
    assert Peak().now() == Peak(5, 3)
    assert Peak(9, 1).now() == Peak(9, 3)
