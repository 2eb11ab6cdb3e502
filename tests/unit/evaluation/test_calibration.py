"""Calibration error against worked examples, temperature against a known one."""

import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from llmclf_core.evaluation.calibrate import (
    TEMPERATURE_BOUNDS,
    fit_calibration,
    fit_temperature,
)
from llmclf_core.evaluation.calibration import calibration_error, reliability

from .conftest import sample, space


def test_top_label_error_by_hand():
    # Bins of width 0.2: 0.9 and 0.85 (one right, one wrong), 0.6 (right).
    probabilities = np.asarray([[0.9, 0.1], [0.15, 0.85], [0.6, 0.4]])
    truth = np.asarray([[1, 0], [1, 0], [1, 0]], np.int8)
    expected = 2 / 3 * abs(0.875 - 0.5) + 1 / 3 * abs(0.6 - 1)
    error = calibration_error(probabilities, truth, space("single", 2), bins=5)
    assert error == pytest.approx(expected)


def reference_error(confidence, right, bins):
    """Guo et al.'s definition, bin by bin with half-open bins (low, high]."""
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        if b == 0:
            inside |= confidence == 0
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_error_equals_a_direct_implementation(task, bins):
    truth, logits = sample(task, 500, 4)
    labels = space(task, 4)
    probabilities = softmax(logits, axis=1) if task == "single" else expit(logits)
    if task == "single":
        top = probabilities.argmax(1)
        expected = reference_error(probabilities.max(1), truth[np.arange(500), top], bins)
    else:
        expected = np.mean(
            [reference_error(probabilities[:, i], truth[:, i], bins) for i in range(4)]
        )
    assert calibration_error(probabilities, truth, labels, bins) == pytest.approx(expected)


def test_perfectly_calibrated_answers_have_no_error():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    truth = np.asarray([[1, 0]] * 3 + [[0, 1]], np.int8)
    assert calibration_error(probabilities, truth, space("single", 2)) == pytest.approx(0)


def test_bins_hold_every_answer_and_say_none_when_empty(task):
    truth, logits = sample(task, 50, 3)
    probabilities = expit(logits)
    bins = reliability(probabilities, truth, space(task, 3), 10)
    assert [b["low"] for b in bins] == pytest.approx(np.arange(10) / 10)
    assert sum(b["count"] for b in bins) == (50 if task == "single" else 150)
    assert all((b["accuracy"] is None) == (b["count"] == 0) for b in bins)
    edges = reliability(np.asarray([[0.0, 1.0]]), np.asarray([[0, 1]]), space("multi", 2), 4)
    assert (edges[0]["count"], edges[-1]["count"]) == (1, 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(task, temperature):
    rng = np.random.default_rng(1)
    true_logits = rng.normal(size=(20_000, 3)) * 2
    if task == "single":
        uniform = rng.random((20_000, 1))
        ids = (softmax(true_logits, axis=1).cumsum(1) < uniform).sum(1).clip(max=2)
        truth = np.eye(3, dtype=np.int8)[ids]
    else:
        truth = (rng.random(true_logits.shape) < expit(true_logits)).astype(np.int8)
    found = fit_temperature(true_logits * temperature, truth, space(task, 3))
    assert found == pytest.approx(temperature, rel=0.03)


def test_temperature_lowers_the_calibration_error(task):
    truth, logits = sample(task, 2000, 4)
    labels = space(task, 4)
    fitted = fit_calibration(logits, truth, labels)
    held_truth, held = sample(task, 2000, 4, seed=9)
    after = fitted.probabilities(held, labels)
    before = softmax(held, axis=1) if task == "single" else expit(held)
    errors = [calibration_error(p, held_truth, labels) for p in (before, after)]
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rows_that_are_all_right_ask_for_no_more_than_their_number_warrants(task, scale):
    truth, _ = sample(task, 100, 3)
    logits = scale * (2.0 * truth - 1)
    temperature = fit_temperature(logits, truth, space(task, 3))
    low, high = TEMPERATURE_BOUNDS
    assert low * 0.999 <= temperature <= high * 1.001
    if task == "single" and scale == 1.0:
        # Laplace's rule of succession: 101 of 102.
        confidence = softmax(logits / temperature, axis=1).max()
        assert confidence == pytest.approx(101 / 102, abs=1e-3)


def test_all_wrong_stays_within_the_bounds(task):
    truth, _ = sample(task, 100, 3)
    temperature = fit_temperature(-50.0 * (2.0 * truth - 1), truth, space(task, 3))
    assert math.isfinite(temperature)
    assert temperature <= TEMPERATURE_BOUNDS[1]


def test_nothing_to_learn_from_gives_one(task):
    labels = space(task, 3)
    empty = np.zeros((0, 3), np.float32)
    assert fit_temperature(empty, empty.astype(np.int8), labels) == 1.0
    truth, _ = sample(task, 10, 3)
    assert fit_temperature(np.zeros((10, 3)), truth, labels) == 1.0


def test_calibration_has_thresholds_only_where_they_are_used():
    truth, logits = sample("multi", 400, 3)
    multi = fit_calibration(logits, truth, space("multi", 3))
    assert multi.temperature > 1
    assert any(t != 0.5 for t in multi.thresholds)
    truth, logits = sample("single", 400, 3)
    assert fit_calibration(logits, truth, space("single", 3)).thresholds == (0.5,) * 3


def test_empty_validation_leaves_everything_as_it_is(task):
    empty = np.zeros((0, 3), np.float32)
    fitted = fit_calibration(empty, empty.astype(np.int8), space(task, 3))
    assert (fitted.temperature, fitted.thresholds) == (1.0, (0.5, 0.5, 0.5))
