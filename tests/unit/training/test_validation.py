"""Validation figures, against evaluation's and scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from llmclf_core.approaches.base import Calibration
from llmclf_core.evaluation.metrics import compute_metrics
from llmclf_core.evaluation.thresholds import fit_thresholds
from llmclf_core.labels import LabelSpace
from llmclf_core.training.validation import validation_metrics

NAMES = ("a", "b", "c", "d")


def rows(task, n=60, used=4, seed=0):
    """Logits and truth of some skill; the last labels do not occur at all when used < 4."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 4)).astype(np.float32)
    logits[:, used:] -= 20
    if task == "single":
        truth = np.eye(4, dtype=np.int8)[random.integers(0, used, n)]
    else:
        truth = (random.random((n, 4)) < 0.3).astype(np.int8)
        truth[:, used:] = 0
    return logits + 1.5 * truth, truth, LabelSpace(NAMES, task)


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("used", [2, 3, 4])
def test_equal_to_evaluation(task, used):
    """Also where a label is neither true nor predicted: both leave it out of macro F1."""
    logits, truth, labels = rows(task, used=used)
    found = validation_metrics(logits, truth, labels)
    calibration = Calibration.none(4)
    probabilities = calibration.probabilities(logits, labels)
    if task == "multi":
        calibration = Calibration(1.0, fit_thresholds(probabilities, truth))
    predicted = calibration.decide(probabilities, labels)
    assert not predicted[:, used:].any()
    expected = compute_metrics(truth, probabilities, predicted, labels)
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert found["micro_f1"] == pytest.approx(expected["micro_f1"])
    assert found["loss"] == pytest.approx(expected["log_loss"], rel=1e-5)


def test_single_label_equals_scikit_learn_on_class_ids():
    logits, truth, labels = rows("single", used=3)
    found = validation_metrics(logits, truth, labels)
    y, predicted = truth.argmax(1), logits.argmax(1)
    assert found["macro_f1"] == pytest.approx(f1_score(y, predicted, average="macro"))
    assert found["micro_f1"] == pytest.approx((y == predicted).mean())
    exp = np.exp(logits.astype(np.float64))
    p = exp / exp.sum(1, keepdims=True)
    assert found["loss"] == pytest.approx(log_loss(y, p, labels=range(4)), rel=1e-4)


def test_multi_label_f1_is_taken_at_the_best_thresholds():
    """At 0.5 this classifier predicts nothing, and yet it ranks perfectly."""
    truth = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.int8)
    logits = truth.astype(np.float32) - 8
    found = validation_metrics(logits, truth, LabelSpace(("a", "b"), "multi"))
    assert found["macro_f1"] == found["micro_f1"] == 1


def test_certain_and_wrong_is_finite():
    truth = np.array([[1, 0], [0, 1]], np.int8)
    logits = np.array([[-200, 200], [200, -200]], np.float32)
    found = validation_metrics(logits, truth, LabelSpace(("a", "b"), "single"))
    assert found["macro_f1"] == 0
    assert 10 < found["loss"] < 20
