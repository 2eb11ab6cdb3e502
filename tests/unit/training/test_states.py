"""The store of what frozen layers give: a kill costs one file, nothing is mapped or rounded."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llmclf_core.training.states import States
from tests.unit.training.test_frozen_layers import BrokenError


def test_a_kill_costs_one_file(tmp_path):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 700)
    texts = [torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32)) for n in lengths]
    computed = []

    def compute(rows):
        if len(computed) == 35:
            raise BrokenError
        computed.append(rows)
        return torch.nn.utils.rnn.pad_sequence([texts[i] for i in rows], batch_first=True)

    def store():
        return States(tmp_path / "states", lengths, 16, 4, torch.float32)

    with pytest.raises(BrokenError):
        store().fill(store().missing(), compute)
    assert store().missing() == [1]
    computed.clear()
    store().fill(store().missing(), compute)
    assert len(computed) == 44 - 32
    rows = rng.permutation(700)[:50]
    for ours, row in zip(store().batch(rows), rows, strict=True):
        assert torch.equal(ours[: lengths[row]], texts[row])
        assert not ours[lengths[row] :].any()
    assert not list(tmp_path.rglob("*.draft")) or store().missing() == []


def test_nothing_stays_mapped(tmp_path):
    store = States(tmp_path / "states", np.array([3, 3]), 16, 8, torch.float32)
    store.fill(store.missing(), lambda rows: torch.ones(2, 3, 8))
    store.batch(np.array([1, 0]))
    maps = Path("/proc/self/maps")  # Linux's alone
    assert not maps.exists() or str(tmp_path) not in maps.read_text()


def test_half_precision_is_kept_as_it_is(tmp_path):
    states = torch.randn(2, 3, 8).bfloat16()
    store = States(tmp_path / "states", np.array([3, 3]), 16, 8, torch.bfloat16)
    store.fill(store.missing(), lambda rows: states[torch.from_numpy(rows)])
    assert torch.equal(store.batch(np.array([1, 0])), states.flip(0))
