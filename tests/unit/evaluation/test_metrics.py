"""Every figure against scikit-learn's, or against a count done by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from llmclf_core.approaches.base import Calibration
from llmclf_core.evaluation.metrics import (
    MAX_CURVE_POINTS,
    compute_metrics,
    confusion,
    per_label,
    pr_curve,
    pr_curves,
    probability_metrics,
)

from .conftest import sample, space


def decided(task, rows=200, n_labels=5, seed=0):
    truth, logits = sample(task, rows, n_labels, seed)
    labels = space(task, n_labels)
    calibration = Calibration.none(n_labels)
    probabilities = calibration.probabilities(logits, labels)
    return truth, probabilities, calibration.decide(probabilities, labels), labels


def test_single_label_scores_equal_sklearn_on_ids():
    truth, probabilities, predicted, labels = decided("single")
    ours = compute_metrics(truth, probabilities, predicted, labels)
    t, p = truth.argmax(1), predicted.argmax(1)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(t, p))
    for average in ("micro", "macro", "weighted"):
        assert ours[f"{average}_f1"] == pytest.approx(sk.f1_score(t, p, average=average))
        assert ours[f"{average}_precision"] == pytest.approx(
            sk.precision_score(t, p, average=average)
        )
        assert ours[f"{average}_recall"] == pytest.approx(sk.recall_score(t, p, average=average))
    assert ours["log_loss"] == pytest.approx(sk.log_loss(t, probabilities))
    assert ours["brier"] == pytest.approx(
        sk.brier_score_loss(t, probabilities, scale_by_half=False), rel=1e-5
    )
    assert ours["micro_average_precision"] == pytest.approx(
        sk.average_precision_score(truth, probabilities, average="micro")
    )


def test_multi_label_scores_equal_sklearn_on_indicators():
    truth, probabilities, predicted, labels = decided("multi")
    ours = compute_metrics(truth, probabilities, predicted, labels)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert ours["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, predicted))
    for average in ("micro", "macro", "weighted"):
        assert ours[f"{average}_f1"] == pytest.approx(
            sk.f1_score(truth, predicted, average=average)
        )
    binary = [sk.log_loss(truth[:, i], probabilities[:, i]) for i in range(5)]
    assert ours["log_loss"] == pytest.approx(np.mean(binary), rel=1e-6)
    brier = [sk.brier_score_loss(truth[:, i], probabilities[:, i]) for i in range(5)]
    assert ours["brier"] == pytest.approx(np.mean(brier), rel=1e-5)


def test_both_tasks_have_the_same_names():
    names = [set(compute_metrics(*decided(task))) for task in ("single", "multi")]
    assert names[0] == names[1]


def test_absent_label_is_left_out_of_the_macro_average_unless_predicted():
    labels = space("single", 3)
    truth = np.eye(3, dtype=np.int8)[[0, 0, 1, 1]]
    probabilities = np.full((4, 3), 1 / 3, np.float32)
    right = compute_metrics(truth, probabilities, truth, labels)
    assert right["macro_f1"] == 1.0
    predicted = np.eye(3, dtype=np.int8)[[0, 2, 1, 1]]
    wrong = compute_metrics(truth, probabilities, predicted, labels)
    assert wrong["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert wrong["macro_f1"] == pytest.approx(
        sk.f1_score([0, 0, 1, 1], [0, 2, 1, 1], average="macro")
    )


@pytest.mark.parametrize("kind", ["single", "multi"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_figures_are_finite_and_bounded_for_any_rows(kind, data):
    rows, n_labels = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 4))
    labels = space(kind, n_labels)
    scores = st.sampled_from([-800.0, -1.0, 0.0, 0.5, 800.0])
    draw = st.lists(scores, min_size=rows * n_labels, max_size=rows * n_labels)
    logits = np.asarray(data.draw(draw), np.float32).reshape(rows, n_labels)
    if kind == "single":
        ids = data.draw(st.lists(st.integers(0, n_labels - 1), min_size=rows, max_size=rows))
        truth = np.eye(n_labels, dtype=np.int8)[ids]
    else:
        bits = st.lists(st.integers(0, 1), min_size=rows * n_labels, max_size=rows * n_labels)
        truth = np.asarray(data.draw(bits), np.int8).reshape(rows, n_labels)
    calibration = Calibration.none(n_labels)
    probabilities = calibration.probabilities(logits, labels)
    predicted = calibration.decide(probabilities, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = compute_metrics(truth, probabilities, predicted, labels)
        table = per_label(truth, probabilities, predicted, labels, calibration.thresholds)
        pr_curves(truth, probabilities, labels)
        confusion(truth, predicted, labels)
    assert all(np.isfinite(value) for value in figures.values())
    assert all(0 <= v <= 1 + 1e-9 for k, v in figures.items() if k not in ("log_loss", "brier"))
    assert sum(row["support"] for row in table) == truth.sum()


def test_nothing_true_and_nothing_predicted():
    labels = space("multi", 3)
    zero = np.zeros((2, 3), np.int8)
    figures = compute_metrics(zero, np.full((2, 3), 0.1, np.float32), zero, labels)
    assert figures["accuracy"] == 1.0
    assert figures["micro_f1"] == 0.0
    assert "micro_average_precision" not in figures


def test_brier_is_brieres_of_1950():
    labels = space("single", 2)
    truth = np.asarray([[1, 0], [0, 1]], np.int8)
    probabilities = np.asarray([[0.7, 0.3], [0.9, 0.1]], np.float32)
    by_hand = (0.3**2 + 0.3**2 + 0.9**2 + 0.9**2) / 2
    assert probability_metrics(truth, probabilities, labels)["brier"] == pytest.approx(by_hand)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_table_and_confusions_agree_with_sklearn(kind):
    truth, probabilities, predicted, labels = decided(kind)
    thresholds = (0.1, 0.2, 0.3, 0.4, 0.5)
    table = per_label(truth, probabilities, predicted, labels, thresholds)
    matrix = confusion(truth, predicted, labels)
    for i, row in enumerate(table):
        t, p = truth[:, i], predicted[:, i]
        assert row["label"] == labels.names[i]
        assert row["f1"] == pytest.approx(sk.f1_score(t, p))
        assert row["precision"] == pytest.approx(sk.precision_score(t, p))
        assert row["recall"] == pytest.approx(sk.recall_score(t, p))
        assert row["average_precision"] == pytest.approx(
            sk.average_precision_score(t, probabilities[:, i])
        )
        assert (row["support"], row["predicted"]) == (t.sum(), p.sum())
        assert row["true_positives"] == (matrix[i, i] if kind == "single" else matrix[i, 1, 1])
        assert row["threshold"] == (None if kind == "single" else thresholds[i])
    if kind == "single":
        np.testing.assert_array_equal(
            matrix, sk.confusion_matrix(truth.argmax(1), predicted.argmax(1))
        )


def test_curve_is_thinned_but_keeps_its_ends_and_area():
    rng = np.random.default_rng(0)
    truth = (rng.random(5000) < 0.2).astype(np.int8)
    scores = truth + rng.normal(size=5000)
    curve = pr_curve(truth, scores)
    assert len(curve["recall"]) == len(curve["precision"]) == MAX_CURVE_POINTS
    assert (curve["recall"][0], curve["recall"][-1]) == (0.0, 1.0)
    assert curve["recall"] == sorted(curve["recall"])
    area = np.trapezoid(curve["precision"], curve["recall"])
    assert area == pytest.approx(sk.average_precision_score(truth, scores), abs=0.01)


def test_label_without_a_positive_row_has_no_curve():
    truth = np.asarray([[1, 0], [1, 0]], np.int8)
    assert list(pr_curves(truth, np.full((2, 2), 0.5), space("multi", 2))) == ["label 0"]
