"""The search against all subsets, and the chain rule of the labels' probabilities."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmclf_core.models.label_search import allowed, best_sets, chain_logits


class Model:
    """Log-likelihoods that depend on the text and on all that is written, and a count of calls."""

    def __init__(self, n_labels, seed, spread=2.0, end=0.0):
        self.n_labels, self.seed, self.spread, self.end = n_labels, seed, spread, end
        self.asked = []

    def row(self, text, state):
        random = np.random.default_rng([self.seed, text, *[s + 1 for s in state], 999])
        row = random.normal(-5, self.spread, self.n_labels + 1)
        row[-1] += self.end
        return row

    def __call__(self, texts, states):
        self.asked += zip(texts, states, strict=True)
        return np.array([self.row(t, s) for t, s in zip(texts, states, strict=True)])

    def log_p(self, text, labels):
        """The probability of a set, step by step."""
        total = 0.0
        for i in range(len(labels) + 1):
            q = allowed(self.row(text, labels[:i]), labels[:i])
            total += q[labels[i]] if i < len(labels) else q[-1]
        return total

    def all_sets(self):
        ids = range(self.n_labels)
        return [s for n in range(self.n_labels + 1) for s in combinations(ids, n)]


@given(seed=st.integers(0, 10_000), n_labels=st.integers(2, 6), end=st.floats(-4, 4))
def test_best_set_is_that_of_an_exhaustive_search(seed, n_labels, end):
    model = Model(n_labels, seed, end=end)
    for text, found in enumerate(best_sets(model, 3, 1000)):
        best = max(model.all_sets(), key=lambda labels: model.log_p(text, labels))
        assert found.labels == best
        assert found.exact


def test_probabilities_of_all_sets_add_up_to_one():
    model = Model(5, 1)
    assert np.exp([model.log_p(0, s) for s in model.all_sets()]).sum() == pytest.approx(1)


@given(seed=st.integers(0, 10_000), n_labels=st.integers(2, 6), end=st.floats(-4, 4))
def test_conditionals_multiply_to_the_probability_of_the_set(seed, n_labels, end):
    model = Model(n_labels, seed, end=end)
    (found,) = best_sets(model, 1, 1000)
    h = 1 / (1 + np.exp(-found.logits))
    chosen = np.isin(np.arange(n_labels), found.labels)
    assert np.log(np.where(chosen, h, 1 - h)).sum() == pytest.approx(
        model.log_p(0, found.labels), abs=1e-9
    )


@pytest.mark.parametrize("labels", [(), (0,), (1, 3), (4,), (0, 1, 2, 3, 4)])
def test_conditionals_by_their_definition(labels):
    model = Model(5, 7)
    q = [allowed(model.row(0, labels[:i]), labels[:i]) for i in range(len(labels) + 1)]
    found = chain_logits(q, labels)
    for label in range(5):
        row = np.exp(q[sum(s < label for s in labels)])
        h = row[label] / (row[label] + row[label + 1 :].sum())
        assert found[label] == pytest.approx(np.log(h / (1 - h)))


def test_labels_before_the_last_one_are_not_options():
    q = allowed(np.zeros(6), (1, 3))
    assert np.exp(q) == pytest.approx([0, 0, 0, 0, 0.5, 0.5])
    assert np.exp(allowed(np.zeros(4), ())) == pytest.approx([0.25] * 4)


def test_certain_answers_are_clipped():
    (found,) = best_sets(lambda t, s: np.array([[-900.0, 0.0, -900.0, -800.0]] * len(t)), 1, 9)
    assert found.labels == (1,)
    assert found.logits.tolist() == [-30, 30, -30]


def test_out_of_steps_the_cheapest_state_is_completed():
    model = Model(12, 5, spread=0.1, end=-3)
    (whole,) = best_sets(Model(12, 5, spread=0.1, end=-3), 1, 10_000)
    (found,) = best_sets(model, 1, 1)
    assert not found.exact
    assert 1 < len(model.asked) <= 1 + 12
    assert len(set(model.asked)) == len(model.asked)
    assert model.log_p(0, found.labels) < model.log_p(0, whole.labels)
    first = allowed(model.row(0, ()), ())
    assert found.labels[0] == first[:-1].argmax()


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 8))
def test_a_search_that_says_it_is_exact_is(seed, steps):
    model = Model(5, seed, spread=1.0)
    for text, found in enumerate(best_sets(model, 2, steps)):
        best = max(model.all_sets(), key=lambda labels: model.log_p(text, labels))
        assert found.labels == best or not found.exact


def test_texts_are_asked_for_together_and_do_not_mix():
    model = Model(5, 11)
    together = best_sets(model, 4, 100)
    calls = Model(5, 11)
    alone = [
        best_sets(lambda t, s, i=i: np.array([calls.row(i, x) for x in s]), 1, 100)[0]
        for i in range(4)
    ]
    for a, b in zip(together, alone, strict=True):
        assert a.labels == b.labels
        assert np.array_equal(a.logits, b.logits)


def test_no_texts():
    assert best_sets(Model(3, 0), 0, 5) == []
