"""The folded logistic regression, against scikit-learn's own pipeline."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llmclf_core.approaches.base import Calibration
from llmclf_core.labels import LabelSpace
from llmclf_core.models.probe import INVERSE_REGULARISATION, fit_probe


def data(classes, n=200, hidden=20, seed=0):
    """Embeddings of uneven scale and offset, one constant feature, and a class each."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    x = random.normal(size=(n, hidden)) + np.eye(classes, hidden)[truth] * 2
    x = x * np.logspace(-2, 2, hidden) + random.normal(size=hidden) * 10
    x[:, -1] = 3.0
    return x.astype(np.float32), truth


def reference(x, y):
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=2000)
    return make_pipeline(StandardScaler(), model).fit(x, y)


def probabilities(weight, bias, x, task):
    space = LabelSpace(tuple(f"l{i}" for i in range(len(bias))), task)
    return Calibration.none(len(bias)).probabilities(x @ weight.T + bias, space)


def one_hot(y, n):
    return np.eye(n, dtype=np.int8)[y]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_single_label(classes):
    x, y = data(classes)
    weight, bias = fit_probe(x, one_hot(y, classes), "single")
    assert weight.shape == (classes, 20)
    assert bias.shape == (classes,)
    assert weight.dtype == bias.dtype == np.float32
    np.testing.assert_allclose(
        probabilities(weight, bias, x, "single"), reference(x, y).predict_proba(x), atol=1e-4
    )


@pytest.mark.parametrize("present", [[0, 2], [1, 2, 4]], ids=str)
def test_class_without_a_row_never_wins(present):
    x, y = data(len(present))
    weight, bias = fit_probe(x, one_hot(np.array(present)[y], 5), "single")
    found = probabilities(weight, bias, x, "single")
    absent = [i for i in range(5) if i not in present]
    assert found[:, absent].max() < 1e-2
    rest = found[:, present] / found[:, present].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rest, reference(x, y).predict_proba(x), atol=1e-4)


def test_one_class_only():
    x, _ = data(2)
    weight, bias = fit_probe(x, one_hot(np.full(len(x), 1), 3), "single")
    assert not weight.any()
    assert (probabilities(weight, bias, x, "single")[:, 1] > 0.99).all()


def test_multi_label():
    x, y = data(4)
    truth = (one_hot(y, 4) | one_hot((y + (x[:, 0] > x[:, 0].mean())) % 4, 4)).astype(np.int8)
    weight, bias = fit_probe(x, truth, "multi")
    found = probabilities(weight, bias, x, "multi")
    for label in range(4):
        expected = reference(x, truth[:, label]).predict_proba(x)[:, 1]
        np.testing.assert_allclose(found[:, label], expected, atol=1e-4)


def test_multi_label_that_none_or_all_have():
    """Smoothed log-odds: (0 + ½) / (200 + ½) and its inverse."""
    x, y = data(2)
    truth = np.stack([y == 0, np.zeros(200), np.ones(200)], axis=1).astype(np.int8)
    weight, bias = fit_probe(x, truth, "multi")
    assert not weight[1:].any()
    np.testing.assert_allclose(bias[1:], [np.log(0.5 / 200.5), np.log(200.5 / 0.5)], rtol=1e-6)
