"""Tests of difference against published examples, statsmodels and row-by-row resampling."""

import time

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import accuracy_score, f1_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from llmclf_core.evaluation.counts import SCORES, row_counts, scores
from llmclf_core.evaluation.intervals import bootstrap_intervals
from llmclf_core.evaluation.significance import holm, mcnemar_midp, paired_bootstrap

from .conftest import sample


def discordant(only_a, only_b, both=1, neither=12):
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return a, b


def test_midp_of_fagerland_table_1():
    # Bentur et al. 2009: 1 and 7 discordant pairs; exact 0.0703, mid-p 0.0391.
    assert mcnemar_midp(*discordant(1, 7)) == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar_midp(*discordant(7, 1)) == mcnemar_midp(*discordant(1, 7))


@pytest.mark.parametrize(("b", "c"), [(0, 5), (3, 9), (20, 41), (120, 80)])
def test_midp_is_the_exact_test_less_the_point_probability(b, c):
    exact = mcnemar([[10, b], [c, 10]], exact=True).pvalue
    expected = exact - binom.pmf(min(b, c), b + c, 0.5)
    assert mcnemar_midp(*discordant(b, c)) == pytest.approx(expected)


def test_midp_without_a_difference():
    assert mcnemar_midp(*discordant(0, 0)) == 1.0
    assert mcnemar_midp(*discordant(4, 4)) == pytest.approx(1 - 0.5 * binom.pmf(4, 8, 0.5))


@pytest.mark.parametrize("seed", range(8))
def test_holm_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    p_values = (rng.integers(0, 11, size=rng.integers(1, 9)) / 10 ** rng.integers(1, 4)).tolist()
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(expected))


def test_holm_of_nothing():
    assert holm([]) == []


def test_scores_of_totals_equal_sklearn(task):
    truth, _ = sample(task, 80, 5)
    predicted = truth.copy()
    predicted[:30] = np.roll(predicted[:30], 1, axis=1)
    ours = scores(row_counts(truth, predicted).sum(0, keepdims=True))
    assert ours["accuracy"][0] == pytest.approx(accuracy_score(truth, predicted))
    for average in ("micro", "macro", "weighted"):
        expected = f1_score(truth, predicted, average=average)
        assert ours[f"{average}_f1"][0] == pytest.approx(expected)


def noisy(truth, share, seed):
    """Another prediction: some rows take another row's labels."""
    rng = np.random.default_rng(seed)
    predicted = truth.copy()
    moved = rng.random(len(truth)) < share
    predicted[moved] = truth[rng.permutation(len(truth))][moved]
    return predicted


def test_intervals_agree_with_resampling_rows_through_sklearn(task):
    truth, _ = sample(task, 150, 3)
    predicted = noisy(truth, 0.4, 1)
    ours = bootstrap_intervals(truth, predicted, resamples=4000, confidence=0.9, seed=3)
    rng = np.random.default_rng(8)
    slow = {name: [] for name in SCORES}
    for _ in range(400):
        rows = rng.integers(len(truth), size=len(truth))
        slow["accuracy"].append(accuracy_score(truth[rows], predicted[rows]))
        for average in ("micro", "macro", "weighted"):
            slow[f"{average}_f1"].append(f1_score(truth[rows], predicted[rows], average=average))
    for name in SCORES:
        assert ours[name] == pytest.approx(np.quantile(slow[name], [0.05, 0.95]), abs=0.02)


def test_accuracy_interval_is_near_the_normal_one():
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.8
    truth = np.tile(np.asarray([[1, 0]], np.int8), (2000, 1))
    predicted = np.where(right[:, None], truth, 1 - truth).astype(np.int8)
    low, high = bootstrap_intervals(truth, predicted, 4000)["accuracy"]
    half = norm.ppf(0.975) * np.sqrt(right.mean() * (1 - right.mean()) / 2000)
    assert (low, high) == pytest.approx((right.mean() - half, right.mean() + half), abs=0.002)


def test_intervals_repeat_with_the_seed_and_contain_the_figure(task):
    truth, _ = sample(task, 200, 4)
    predicted = noisy(truth, 0.3, 2)
    first = bootstrap_intervals(truth, predicted, seed=5)
    assert first == bootstrap_intervals(truth, predicted, seed=5)
    assert first != bootstrap_intervals(truth, predicted, seed=6)
    figure = f1_score(truth, predicted, average="macro")
    assert first["macro_f1"][0] < figure < first["macro_f1"][1]


def test_blocks_do_not_change_the_samples(monkeypatch):
    truth, _ = sample("multi", 60, 4)
    predicted = noisy(truth, 0.3, 2)
    whole = bootstrap_intervals(truth, predicted, 50)
    monkeypatch.setattr("llmclf_core.evaluation.counts._CELLS", 130)
    assert bootstrap_intervals(truth, predicted, 50) == whole


def test_one_row_and_constant_predictions():
    one = np.asarray([[1, 0]], np.int8)
    assert set(bootstrap_intervals(one, one, 20).values()) == {(1.0, 1.0)}
    truth = np.eye(3, dtype=np.int8)[[0, 1, 2, 0, 1, 2]]
    constant = np.eye(3, dtype=np.int8)[[0] * 6]
    intervals = bootstrap_intervals(truth, constant, 200)
    assert 0 <= intervals["macro_f1"][0] <= intervals["macro_f1"][1] <= 1
    nothing = np.zeros((4, 3), np.int8)
    assert bootstrap_intervals(nothing, nothing, 20)["macro_f1"] == (0.0, 0.0)


def test_intervals_of_a_thousand_rows_and_58_labels_take_under_three_seconds():
    truth, _ = sample("multi", 1000, 58)
    started = time.perf_counter()
    bootstrap_intervals(truth, noisy(truth, 0.3, 0), 2000)
    assert time.perf_counter() - started < 3


def test_paired_difference_of_equal_predictions(task):
    truth, _ = sample(task, 50, 3)
    same = noisy(truth, 0.3, 0)
    assert paired_bootstrap(truth, same, same) == (0.0, 0.0, 0.0, 1.0)


def test_paired_difference_is_antisymmetric_and_finds_a_real_gap(task):
    truth, _ = sample(task, 400, 4)
    good, bad = noisy(truth, 0.1, 0), noisy(truth, 0.4, 1)
    ab = paired_bootstrap(truth, good, bad, "macro_f1")
    ba = paired_bootstrap(truth, bad, good, "macro_f1")
    expected = f1_score(truth, good, average="macro") - f1_score(truth, bad, average="macro")
    assert ab.difference == pytest.approx(expected)
    assert (ab.difference, ab.p) == pytest.approx((-ba.difference, ba.p))
    assert 0 < ab.low < ab.difference < ab.high
    assert ab.p == pytest.approx(2 / 2001)


def test_paired_interval_is_narrower_than_independent_ones():
    truth, _ = sample("single", 500, 3)
    a = noisy(truth, 0.3, 0)
    b = a.copy()
    b[:10] = truth[:10]
    paired = paired_bootstrap(truth, b, a, "accuracy")
    low, high = bootstrap_intervals(truth, a)["accuracy"]
    assert paired.high - paired.low < (high - low) / 2


def test_p_value_keeps_its_level_where_there_is_no_difference():
    rejected = 0
    for seed in range(120):
        truth, _ = sample("single", 150, 3, seed=seed)
        a, b = noisy(truth, 0.3, 2 * seed + 1), noisy(truth, 0.3, 2 * seed + 2)
        rejected += paired_bootstrap(truth, a, b, "accuracy", 400, seed=seed).p < 0.05
    assert rejected <= 14  # binomial(120, 0.05) exceeds this with probability 0.1 %
