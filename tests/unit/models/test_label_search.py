"""The search against all subsets, and the labels' probabilities against sums over subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmclf_core.models.label_search import allowed, best_sets, marginal_logits


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


def seen_by(model, states):
    return {s: allowed(model.row(0, s), s) for s in states}


def probabilities(logits):
    return 1 / (1 + np.exp(-logits))


@given(seed=st.integers(0, 10_000), n_labels=st.integers(2, 6), end=st.floats(-4, 4))
def test_marginals_are_sums_over_all_sets_where_all_was_looked_into(seed, n_labels, end):
    model = Model(n_labels, seed, end=end)
    found = probabilities(marginal_logits(seen_by(model, model.all_sets())))
    for label in range(n_labels):
        sets = [s for s in model.all_sets() if label in s]
        expected = sum(np.exp(model.log_p(0, s)) for s in sets)
        assert found[label] == pytest.approx(expected, abs=1e-9)


def test_what_is_known_after_the_first_state_counts():
    """Of two single labels that exclude each other, the less likely one is not impossible."""
    sets = {(0,): 0.40, (1,): 0.35, (): 0.25}

    def options(texts, states):
        rows = {(): [0.40, 0.35, 0.25], (0,): [1e-12, 1e-12, 1.0], (1,): [1e-12, 1e-12, 1.0]}
        return np.log([rows[s] for s in states])

    (found,) = best_sets(options, 1, 50)
    assert found.labels == (0,)
    assert probabilities(found.logits) == pytest.approx([sets[(0,)], sets[(1,)]], abs=1e-6)


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 20))
def test_independent_labels_have_their_own_probability_however_little_is_looked_into(seed, steps):
    own = np.random.default_rng(seed).uniform(0.02, 0.98, 6)

    def row(state):
        first = state[-1] + 1 if state else 0
        chance = np.full(7, 1e-300)
        chance[first:6] = own[first:] * np.cumprod(np.append(1, 1 - own[first:]))[:-1]
        chance[6] = np.prod(1 - own[first:])
        return np.log(chance)

    (found,) = best_sets(lambda texts, states: np.array([row(s) for s in states]), 1, steps)
    assert probabilities(found.logits) == pytest.approx(own, abs=1e-9)


@given(seed=st.integers(0, 10_000), n_labels=st.integers(2, 8), steps=st.integers(1, 30))
def test_estimates_are_probabilities_and_exact_for_the_first_label(seed, n_labels, steps):
    model = Model(n_labels, seed)
    exact = probabilities(marginal_logits(seen_by(model, model.all_sets())))
    (found,) = best_sets(model, 1, steps)
    near = probabilities(found.logits)
    assert np.isfinite(found.logits).all()
    assert near[0] == pytest.approx(exact[0], abs=1e-9)  # nothing can stand before the first label
    assert ((near >= 0) & (near <= 1)).all()


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
