"""What a training by the loop has taken: seconds and memory, all of them, over all attempts."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from llmclf_core.config import TrainingConfig
from llmclf_core.training import loop, memory
from llmclf_core.training.checkpoint import STATE
from llmclf_core.training.loop import Loop, Task

STEP, VALIDATION = 1.0, 100.0


class Clock:
    """Time passes only as a test says."""

    def __init__(self):
        self.now = 5.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


@pytest.fixture
def make_loop(clock, tmp_path):
    """A loop of 4 steps and 2 validations over one linear layer; each takes its time."""

    def make(warm=False, spent=0.0, end_at=None):
        model = nn.Linear(2, 1)
        seen = []

        def loss(module, rows):
            clock.now += STEP
            seen.append(1)
            if len(seen) == end_at:
                raise KeyboardInterrupt
            return module(torch.ones(len(rows), 2)).sum()

        def validate():
            clock.now += VALIDATION
            return {"macro_f1": 0.5, "micro_f1": 0.5, "loss": 1.0}, np.zeros((3, 1), np.float32)

        task = Task(model, np.full(8, 3), loss, validate, warm=warm)
        config = TrainingConfig(epochs=2, batch_size=4, patience=0, checkpoint_seconds=0)
        return Loop(task, config, 0, tmp_path / "c", lambda metrics, step: None, spent)

    return make


def test_every_validation_and_what_went_before_count(make_loop):
    progress, _ = make_loop(spent=1000.0).run()
    assert progress.seconds == 1000 + 4 * STEP + 2 * VALIDATION


def test_validation_of_a_warm_start_counts(make_loop):
    progress, _ = make_loop(warm=True).run()
    assert progress.seconds == 4 * STEP + 3 * VALIDATION


@pytest.mark.parametrize("end_at", [1, 2, 3, 4])
def test_resumed_training_keeps_what_was_spent(make_loop, clock, end_at):
    with pytest.raises(KeyboardInterrupt):
        make_loop(warm=True, spent=1000.0, end_at=end_at).run()
    clock.now += 1e6  # while nothing ran
    progress, _ = make_loop(warm=True, spent=7777.0).run()  # built again, counted once
    assert progress.seconds == 1000 + 4 * STEP + 3 * VALIDATION


def test_finished_training_has_spent_no_more(make_loop):
    first, _ = make_loop(spent=1000.0).run()
    again, _ = make_loop(spent=7777.0).run()
    assert again.seconds == first.seconds


def test_peak_is_the_largest_of_all_attempts(make_loop, monkeypatch):
    monkeypatch.setattr(memory, "peak_memory_bytes", lambda: 900)
    with pytest.raises(KeyboardInterrupt):
        make_loop(end_at=3).run()
    monkeypatch.setattr(memory, "peak_memory_bytes", lambda: 400)
    assert make_loop().run()[0].peak.memory == 900


def test_peak_of_a_finished_training_is_its_own(make_loop, monkeypatch):
    monkeypatch.setattr(memory, "peak_memory_bytes", lambda: 900)
    make_loop().run()
    monkeypatch.setattr(memory, "peak_memory_bytes", lambda: 5000)  # of who knows what
    assert make_loop().run()[0].peak.memory == 900


def test_checkpoint_of_before_the_peak_was_noted(make_loop, tmp_path, monkeypatch):
    make_loop().run()
    state = json.loads((tmp_path / "c" / STATE).read_text())
    del state["progress"]["peak"]
    (tmp_path / "c" / STATE).write_text(json.dumps(state))
    monkeypatch.setattr(memory, "peak_memory_bytes", lambda: 800)
    assert make_loop().run()[0].peak.memory == 800
