"""Settings compared on the same rows, by their predictions."""

import numpy as np
import pytest

from benchmarks.claims.contrasts import contrasts, mean_gain, row_losses
from benchmarks.claims.study import Study, Variant
from llmclf_core.errors import UserError
from llmclf_core.evaluation.significance import paired_bootstrap
from tests.unit.evaluation.simulated import TAGS, corpus_of, trial


@pytest.mark.parametrize("task", ["single", "multi"])
def test_row_losses_are_the_parts_of_the_log_loss(task):
    evaluation = trial(corpus_of(TAGS[:5], task, rows=80), "head", 0)
    after, before = (row_losses(evaluation, calibrated).mean() for calibrated in (True, False))
    assert after == pytest.approx(evaluation.metrics["log_loss"], rel=1e-5)
    assert before == pytest.approx(evaluation.metrics["uncalibrated_log_loss"], rel=1e-5)


def test_the_interval_of_a_mean_is_the_one_of_statistics():
    gains = np.random.default_rng(0).normal(0.1, 1, size=400)
    found = mean_gain(gains)
    error = gains.std() / 20
    assert found.difference == pytest.approx(gains.mean())
    assert (found.low, found.high) == pytest.approx(
        (gains.mean() - 1.96 * error, gains.mean() + 1.96 * error), abs=0.1 * error
    )


def plan(**recipe):
    usual = Study("base", "base", recipe, 10)
    variants = [
        Study(v, v, recipe, 10, Variant("base", "head", "pooling", v, "mean"))
        for v in ("last", "attention")
    ]
    return [usual, *variants]


def test_settings_are_compared_on_the_same_rows_and_seeds():
    corpus = corpus_of(rows=200)
    base = {("head", s): trial(corpus, "head", s) for s in (0, 1, 2)}
    worse = trial(corpus, "head", 0, skill=1.5)
    like = trial(corpus, "head", 0, chance=0.95)
    done = {"base": base, "last": {("head", 0): worse}, "attention": {("head", 0): like}}
    made = [c for c in contrasts(plan(), done) if c.family == "pooling"]
    assert [(c.a, c.b, c.seeds) for c in made] == [
        ("attention", "last", 1),
        ("attention", "mean", 1),
        ("last", "mean", 1),
    ]
    ours, mine = (e.predictions for e in (worse, base["head", 0]))
    direct = paired_bootstrap(mine.truth, ours.predicted, mine.predicted, resamples=10_000)
    last = made[2]
    assert last.difference == pytest.approx(direct.difference)
    assert (last.low, last.high) == pytest.approx((direct.low, direct.high), abs=0.01)
    assert last.adjusted_p >= last.p
    assert last.adjusted_p < 0.05 < made[1].adjusted_p


def test_other_rows_are_refused():
    base = {("head", 0): trial(corpus_of(rows=100), "head", 0)}
    other = {("head", 0): trial(corpus_of(rows=100, seed=1), "head", 0)}
    with pytest.raises(UserError, match="base: last and mean cannot be compared"):
        contrasts(plan(), {"base": base, "last": other})
