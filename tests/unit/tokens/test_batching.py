import numpy as np
import pytest
import torch

from llmclf_core.tokens.batching import epoch_batches, pad, sorted_batches

CPU = torch.device("cpu")
SKEWED = np.minimum(np.random.default_rng(0).lognormal(4, 1, 3000), 2000).astype(np.int64) + 1


def padded_share(batches, lengths):
    held = sum(len(rows) * lengths[rows].max() for rows in batches)
    return 1 - lengths.sum() / held


@pytest.mark.parametrize("size", [1, 7, 8, 3000, 5000])
def test_every_row_once_and_no_batch_too_large(size):
    for batches in (epoch_batches(SKEWED, size, 0, 0), sorted_batches(SKEWED, size)):
        assert sorted(np.concatenate(batches)) == list(range(3000))
        assert all(1 <= len(rows) <= size for rows in batches)
        assert len(batches) == -(-3000 // size)


def test_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return np.concatenate(epoch_batches(SKEWED, 8, seed, epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_the_same_rows_do_not_always_meet():
    first, second = (
        {frozenset(b.tolist()) for b in epoch_batches(SKEWED, 8, 0, e)} for e in (0, 1)
    )
    assert len(first & second) < 0.01 * len(first)


def test_lengths_come_in_random_order():
    """Long batches first, or last, would be a curriculum that nobody asked for."""
    longest = [SKEWED[rows].max() for rows in epoch_batches(SKEWED, 8, 0, 0)]
    correlation = np.corrcoef(np.arange(len(longest)), longest)[0, 1]
    assert abs(correlation) < 0.15


def test_little_padding_on_skewed_lengths():
    random = np.random.default_rng(1).permutation(len(SKEWED))
    at_random = [random[i : i + 8] for i in range(0, len(random), 8)]
    assert padded_share(at_random, SKEWED) > 0.4
    assert padded_share(epoch_batches(SKEWED, 8, 0, 0), SKEWED) < 0.2
    assert padded_share(sorted_batches(SKEWED, 8), SKEWED) < 0.02


def test_sorted_batches_begin_with_the_longest():
    lengths = np.array([3, 9, 1, 9, 5])
    assert [b.tolist() for b in sorted_batches(lengths, 2)] == [[1, 3], [4, 0], [2]]


def test_no_rows():
    nothing = np.array([], dtype=np.int64)
    assert epoch_batches(nothing, 8, 0, 0) == sorted_batches(nothing, 8) == []


def test_pad():
    ids, mask = pad([[5, 6, 7], [8], []], 2, CPU)
    assert ids.tolist() == [[5, 6, 7], [8, 2, 2], [2, 2, 2]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64


def test_pad_id_in_the_text_is_attended():
    ids, mask = pad([[5, 2], [2, 2, 2]], 2, CPU)
    assert ids.tolist() == [[5, 2, 2], [2, 2, 2]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
