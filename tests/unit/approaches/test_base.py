"""Logits to probabilities and decisions."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from llmclf_core.approaches import APPROACHES, approach_class
from llmclf_core.approaches.base import Calibration
from llmclf_core.labels import LabelSpace

SINGLE, MULTI = (LabelSpace(("a", "b", "c"), task) for task in ("single", "multi"))
LOGITS = np.random.default_rng(0).normal(0, 5, (50, 3)).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.7])
def test_probabilities_equal_scipy(temperature):
    calibration = Calibration(temperature, (0.5,) * 3)
    scaled = LOGITS.astype(np.float64) / temperature
    single = calibration.probabilities(LOGITS, SINGLE)
    np.testing.assert_allclose(single, softmax(scaled, axis=1), atol=1e-6)
    multi = calibration.probabilities(LOGITS, MULTI)
    np.testing.assert_allclose(multi, expit(scaled), atol=1e-6)
    assert single.dtype == multi.dtype == np.float32


@pytest.mark.parametrize("labels", [SINGLE, MULTI], ids=["single", "multi"])
@pytest.mark.filterwarnings("error")
def test_extreme_logits_neither_overflow_nor_warn(labels):
    logits = np.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30], [0, 0, 0]], np.float32)
    found = Calibration(0.01, (0.5,) * 3).probabilities(logits, labels)
    assert np.isfinite(found).all()
    assert found[0, :2].tolist() == [1, 0]


def test_no_rows():
    nothing = np.zeros((0, 3), np.float32)
    for labels in (SINGLE, MULTI):
        found = Calibration.none(3).probabilities(nothing, labels)
        assert found.shape == (0, 3)
        assert Calibration.none(3).decide(found, labels).shape == (0, 3)


def test_single_label_decision_is_the_largest():
    p = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)
    decided = Calibration(1.0, (0.9, 0.9, 0.0)).decide(p, SINGLE)  # thresholds do not count
    assert decided.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert decided.dtype == np.int8


def test_multi_label_decisions_are_thresholds_included():
    p = np.array([[0.25, 0.5, 0.75], [0.2, 0.4, 0.875]], np.float32)
    decided = Calibration(1.0, (0.25, 0.5, 0.875)).decide(p, MULTI)
    assert decided.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert Calibration.none(3).thresholds == (0.5,) * 3


def test_temperature_never_changes_a_single_label_decision():
    for temperature in (0.05, 20.0):
        calibration = Calibration(temperature, (0.5,) * 3)
        decided = calibration.decide(calibration.probabilities(LOGITS, SINGLE), SINGLE)
        assert np.array_equal(decided.argmax(1), LOGITS.argmax(1))


@pytest.mark.parametrize("approach", APPROACHES)
def test_approach_is_registered_under_its_own_name(approach):
    assert approach_class(approach).approach == approach


def test_unknown_approach():
    with pytest.raises(KeyError):
        approach_class("telepathy")
