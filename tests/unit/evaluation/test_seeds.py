"""The two-level bootstrap: one seed is the plain one, coverage and size with several."""

import numpy as np
import pytest
from scipy.stats import norm

from llmclf_core.evaluation.counts import resampled_scores
from llmclf_core.evaluation.seeds import resampled_means
from llmclf_core.evaluation.significance import (
    combined_p,
    difference_of,
    mcnemar_midp,
    paired_bootstrap,
)

from .conftest import sample
from .test_significance import noisy


def binary(right):
    """Predictions of a truth that is always the first of two labels."""
    truth = np.tile(np.asarray([[1, 0]], np.int8), (len(right), 1))
    return truth, np.where(np.asarray(right)[:, None], truth, 1 - truth).astype(np.int8)


def test_one_seed_is_the_plain_paired_bootstrap(task):
    truth, _ = sample(task, 120, 4)
    a, b = noisy(truth, 0.2, 0), noisy(truth, 0.4, 1)
    ours = resampled_means(truth, [[a], [b]], "macro_f1", 500, 3)
    plain = resampled_scores(truth, [a, b], 500, 3)
    for mine, theirs in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(mine, theirs["macro_f1"])
    expected = paired_bootstrap(truth, a, b, "macro_f1", 500, 0.9, 3)
    assert difference_of(expected.difference, ours[0] - ours[1], 0.9) == expected


def test_equal_seeds_add_no_variance(task):
    truth, _ = sample(task, 80, 3)
    a = noisy(truth, 0.3, 0)
    one, three = (resampled_means(truth, [[a] * n], "macro_f1", 200, 0)[0] for n in (1, 3))
    np.testing.assert_allclose(three, one, rtol=1e-12)


def test_variance_is_that_of_rows_and_of_seeds():
    """Rows that are all alike leave only the seeds: the variance of a mean is s² / S."""
    scores = np.array([0.2, 0.5, 0.9])
    rows = 20_000
    rng = np.random.default_rng(0)
    seeds = [binary(rng.permutation(rows) < rows * s)[1] for s in scores]
    truth = binary(np.ones(rows, bool))[0]
    (sampled,) = resampled_means(truth, [seeds], "accuracy", 4000, 0)
    assert sampled.mean() == pytest.approx(scores.mean(), abs=0.01)
    assert sampled.var() == pytest.approx(scores.var(ddof=1) / 3, rel=0.08)


def simulated(rng, rows, seeds, spread, level=0.8):
    """Right or wrong for each seed and row: hard rows are hard for all, some seeds are better."""
    hard = rng.normal(size=rows)
    shift = rng.normal(scale=spread, size=(seeds, 1))
    ability = np.sqrt(2 + spread**2) * norm.ppf(level)
    return ability + shift + hard + rng.normal(size=(seeds, rows)) > 0


def covered(seeds, spread, trials=250):
    """How often the 95 % interval holds the accuracy that all rows and seeds together have."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(trials):
        predictions = [binary(right) for right in simulated(rng, 150, seeds, spread)]
        (sampled,) = resampled_means(
            predictions[0][0], [[p for _, p in predictions]], "accuracy", 300, trial
        )
        low, high = np.quantile(sampled, [0.025, 0.975])
        hits += low <= 0.8 <= high
    return hits / trials


@pytest.mark.parametrize(
    ("seeds", "spread", "least"), [(1, 0.0, 0.91), (3, 0.1, 0.91), (5, 0.1, 0.91), (5, 0.5, 0.85)]
)
def test_coverage_is_about_nominal(seeds, spread, least):
    assert least <= covered(seeds, spread) < 1


def test_row_resampling_alone_would_miss_the_seeds():
    assert covered(1, 0.5, 120) < 0.8 < covered(5, 0.5, 120)


def test_two_samples_of_the_same_approach_do_not_differ():
    rng = np.random.default_rng(3)
    rejected = 0
    for trial in range(150):
        both = [binary(right) for right in simulated(rng, 150, 6, 0.15)]
        groups = [[p for _, p in both[:3]], [p for _, p in both[3:]]]
        a, b = resampled_means(both[0][0], groups, "accuracy", 300, trial)
        rejected += difference_of(0.0, a - b, 0.95).p < 0.05
    assert rejected <= 15  # binomial(150, 0.05) exceeds this with probability 0.4 %


def test_combined_p():
    assert combined_p([0.03]) == 0.03
    assert combined_p([0.01, 0.02, 0.9]) == pytest.approx(0.04)
    assert combined_p([0.9, 0.8, 0.7]) == 1.0


def test_combined_p_keeps_its_level_under_dependence():
    """Twice the median of strongly dependent p-values, all of a true null hypothesis."""
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        a, b = (simulated(rng, 200, 3, 0.0) for _ in range(2))
        p_values = [mcnemar_midp(x, y) for x, y in zip(a, b, strict=True)]
        rejected += combined_p(p_values) < 0.05
    assert rejected <= 32  # binomial(400, 0.05) exceeds this with probability 0.5 %
