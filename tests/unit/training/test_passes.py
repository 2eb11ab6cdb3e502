"""Rows of a step in forward passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmclf_core.config import TrainingConfig
from llmclf_core.training.passes import passes, token_limit


def dealt(lengths, batch, limit, shared=0):
    lengths = np.array(lengths)
    rows = np.arange(len(lengths))
    batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return [p.tolist() for p in passes(batches, lengths, limit, shared)]


def test_without_a_limit_batches_stay_as_they_are():
    assert dealt([5, 900, 3, 4], 2, None) == [[0, 1], [2, 3]]


def test_padding_counts():
    assert dealt([10, 4, 9, 3], 2, 20) == [[0, 2], [1, 3]]
    assert dealt([10, 4, 9, 3], 2, 19) == [[0], [2, 1], [3]]


def test_what_is_shared_counts_once():
    assert dealt([14, 12, 13, 11], 2, 16, shared=10) == [[0], [2, 1, 3]]
    assert dealt([14, 12, 13, 11], 2, 17, shared=10) == [[0, 2], [1, 3]]


@given(
    st.lists(st.integers(8, 99), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 400),
    st.sampled_from([0, 7]),
)
def test_every_row_once_and_only_single_rows_beyond_the_limit(lengths, batch, limit, shared):
    found = dealt(lengths, batch, limit, shared)
    assert sorted(row for each in found for row in each) == list(range(len(lengths)))
    for each in found:
        own = [lengths[row] for row in each]
        tokens = shared + sum(n - shared for n in own) if shared else max(own) * len(own)
        assert tokens <= limit or len(each) == 1
        assert own == sorted(own, reverse=True)


@pytest.mark.parametrize("cpu", [True, False])
def test_the_limit_is_the_settings_or_the_devices(monkeypatch, cpu):
    monkeypatch.setattr("llmclf_core.training.passes.on_cpu", lambda: cpu)
    assert token_limit(TrainingConfig(pass_tokens=77), 300) == 77
    assert token_limit(TrainingConfig()) == (1024 if cpu else None)
    assert token_limit(TrainingConfig(), 300) == (2224 if cpu else None)
    assert token_limit(TrainingConfig(), 300, itemsize=2) == (3248 if cpu else None)
