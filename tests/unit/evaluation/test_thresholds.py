"""The threshold search against exhaustive search with scikit-learn's F1."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from llmclf_core.evaluation.thresholds import fit_thresholds


def column(values):
    return np.asarray(values, np.float32)[:, None]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0.1, 0.2, 0.5, 0.5000001, 0.9, 1.0]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_no_threshold_at_all_is_better(rows):
    probabilities = column([p for p, _ in rows])
    truth = column([t for _, t in rows]).astype(np.int8)
    (found,) = fit_thresholds(probabilities, truth)
    assert 0 <= found <= 1
    if not truth.any():
        assert found == 0.5
        return
    values = np.unique(probabilities)
    between = (values[:-1].astype(np.float64) + values[1:]) / 2
    best = max(f1_score(truth, probabilities >= t) for t in (0.0, *values, *between))
    assert f1_score(truth, probabilities >= found) >= best - 1e-12


def test_separable_label_gets_the_middle_of_the_gap():
    assert fit_thresholds(column([0.1, 0.2, 0.6]), column([0, 0, 1]).astype(np.int8)) == (
        np.mean(np.asarray([0.2, 0.6], np.float32), dtype=np.float64),
    )


def test_of_equally_good_thresholds_the_one_nearest_half_is_taken():
    # F1 is 2/3 both for "only 0.9" and for "from 0.3 up".
    probabilities = column([0.9, 0.5, 0.4, 0.3])
    truth = column([1, 0, 0, 1]).astype(np.int8)
    (found,) = fit_thresholds(probabilities, truth)
    assert f1_score(truth, probabilities >= 0.7) == f1_score(truth, probabilities >= found)
    assert found == (0.5 + np.float64(np.float32(0.9))) / 2


def test_labels_are_independent_and_a_missing_one_keeps_half():
    rng = np.random.default_rng(0)
    probabilities = rng.random((50, 3))
    truth = np.stack([probabilities[:, 0] > 0.8, probabilities[:, 1] > 0.3, np.zeros(50)], 1)
    found = fit_thresholds(probabilities, truth.astype(np.int8))
    np.testing.assert_array_equal(probabilities[:, :2] >= found[:2], truth[:, :2])
    assert found[2] == 0.5


def test_one_row_and_equal_probabilities():
    assert fit_thresholds(column([0.3]), column([1]).astype(np.int8))[0] < 0.3
    (found,) = fit_thresholds(column([0.2] * 5), column([1, 0, 0, 0, 0]).astype(np.int8))
    assert 0 <= found < 0.2
