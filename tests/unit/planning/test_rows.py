"""Rows that stand for all."""

import datasets
import numpy as np
import pytest

from llmclf_core.artifacts import TRAIN, VALIDATION, Tokens
from llmclf_core.config import TrainingConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.planning.rows import few_rows
from llmclf_core.tokens.batching import epoch_batches
from llmclf_core.tokens.tokenize import row_lengths


def tokens_of(lengths, tmp_path):
    rows = {
        "id": [str(i) for i in range(len(lengths))],
        "input_ids": [[1] * n for n in lengths],
        "labels": [[i % 2] for i in range(len(lengths))],
    }
    split = datasets.Dataset.from_dict(rows)
    splits = {TRAIN: split, VALIDATION: split}
    return Tokens(splits, LabelSpace(("a", "b"), "single"), {}, "c", "f", {}, tmp_path)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 1), (8, 1), (6, 2), (40, 1)])
def test_a_batch_is_as_heavy_as_any_can_be(tmp_path, batch_size, accumulation):
    lengths = np.random.default_rng(0).permutation(np.arange(1, 501))
    training = TrainingConfig(batch_size=batch_size, accumulation=accumulation)
    few = few_rows(tokens_of(lengths, tmp_path), training)
    kept = row_lengths(few.splits[TRAIN])
    assert len(kept) % (batch_size * accumulation) == 0
    assert len(kept) < 130
    batches = epoch_batches(kept, batch_size, 0, 0)
    heaviest = max(batches, key=lambda rows: kept[rows].sum())
    assert sorted(kept[heaviest]) == list(range(501 - batch_size, 501))
    assert kept.min() == 1
    longest = sorted(row_lengths(few.splits[VALIDATION]))[-16:]
    assert min(longest) >= 485


def test_few_rows_are_all_taken_once(tmp_path):
    few = few_rows(tokens_of([3, 1, 2], tmp_path), TrainingConfig(batch_size=8))
    assert sorted(row_lengths(few.splits[TRAIN])) == [1, 2, 3]
