"""The claims table: verdicts from figures, contrasts from predictions, and runs that go on."""

import json
import logging
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from benchmarks.claims import __main__ as program
from benchmarks.claims import table
from benchmarks.claims.budget import Large, c2
from benchmarks.claims.contrasts import Contrast, contrasts, mean_gain, row_losses
from benchmarks.claims.corpora import R8_TEST, R8_TRAIN, read_tab, short_names, write_r8
from benchmarks.claims.figures import ApproachRow, Figures, Gap
from benchmarks.claims.plan import STUDIES
from benchmarks.claims.rules import Outcome
from benchmarks.claims.state import State, run_all
from benchmarks.claims.study import Study, Variant
from benchmarks.claims.table import write_table
from benchmarks.claims.verdicts import c1, c4, c5
from llmclf_core.config import APPROACHES
from llmclf_core.errors import UserError
from llmclf_core.evaluation.significance import paired_bootstrap
from tests.pipelines.conftest import write_task
from tests.unit.evaluation.simulated import TAGS, corpus_of, trial

SIZES = {"tfidf": 1e5, "probe": 3e3, "encoder": 22.7e6, "head": 1e6, "instruct": 1e6}


def gap(difference, p=0.5, mcnemar=None, width=0.03):
    low, high = difference - width, difference + width
    return Gap(difference, low, high, p, p, mcnemar, mcnemar)


def told(name="one", task="single", head=0.01, p=0.5, mcnemar=None, **changes):
    """A made-up study: head less encoder as given, instruct far behind."""
    scores = {"tfidf": 0.8, "probe": 0.8, "encoder": 0.8, "head": 0.8 + head, "instruct": 0.5}
    rows = {
        a: ApproachRow(None, [0], scores[a], (0, 1), {}, SIZES[a], 1.0, 1.0) for a in APPROACHES
    }
    pairs = {
        ("encoder", "head"): gap(-head, p, mcnemar),
        ("encoder", "instruct"): gap(0.3, 0.001),
        ("head", "instruct"): gap(0.3, 0.001),
    }
    splits = {"train": 9, "validation": 9, "test": 9}
    made = Figures(name, name, task, splits, "", "macro_f1", 1.0, rows, pairs, [])
    return replace(made, **changes)


def with_instruct(study, difference, p, width=0.03, trained=1e6):
    """The same with another gap between instruct and both of its rivals."""
    ours = {(rival, "instruct"): gap(-difference, p, width=width) for rival in ("encoder", "head")}
    row = replace(study.approaches["instruct"], trained_parameters=trained)
    approaches = study.approaches | {"instruct": row}
    return replace(study, pairs=study.pairs | ours, approaches=approaches)


class TestC1:
    def test_supported(self):
        verdict = c1([told("a"), told("b", head=0.02), told("c", head=-0.01)])
        assert verdict.outcome == Outcome.SUPPORTED
        assert "not lower in 2 of 3" in verdict.why
        assert "a: +0.010 [-0.020, +0.040], p 0.50; 22.7 times fewer" in verdict.measured

    def test_significantly_worse_once(self):
        verdict = c1([told("a"), told("b"), told("c", head=-0.05, p=0.01)])
        assert verdict.outcome == Outcome.NOT_SUPPORTED
        assert "significantly worse in c" in verdict.why

    def test_significantly_better_is_no_objection(self):
        assert c1([told("a", head=0.05, p=0.01), told("b")]).outcome == Outcome.SUPPORTED

    def test_too_many_parameters(self):
        heavy = told("b")
        row = replace(heavy.approaches["head"], trained_parameters=5e6)
        heavy = replace(heavy, approaches=heavy.approaches | {"head": row})
        verdict = c1([told("a"), heavy])
        assert (verdict.outcome, verdict.why) == (Outcome.NOT_SUPPORTED, "fewer than 10 times in b")

    @pytest.mark.parametrize(
        "studies", [[], [told("a")], [told("a", head=-0.01), told("b", head=-0.01), told("c")]]
    )
    def test_cannot_tell(self, studies):
        assert c1(studies).outcome == Outcome.CANNOT_TELL


class TestC4:
    def test_supported(self):
        verdict = c4([told("a", mcnemar=0.4), told("b", task="multi")])
        assert verdict.outcome == Outcome.SUPPORTED
        assert "McNemar p 0.40" in verdict.measured[0]
        assert "McNemar" not in verdict.measured[1]

    @pytest.mark.parametrize(
        ("other", "why"),
        [
            (told("b", head=-0.01), "no advantage in b"),
            (told("b", p=0.04), "significant in b (the head is better)"),
            (told("b", mcnemar=0.04), "significant in b (the head is better)"),
        ],
    )
    def test_not_supported(self, other, why):
        verdict = c4([told("a"), other])
        assert (verdict.outcome, verdict.why) == (Outcome.NOT_SUPPORTED, why)

    @pytest.mark.parametrize("head", [0.01, -0.01])
    def test_one_study_is_not_enough(self, head):
        assert c4([told("a", head=head)]).outcome == Outcome.CANNOT_TELL


def contrast(difference, p, width=0.03, b="head", family="budget", metric="macro_f1"):
    low, high = difference - width, difference + width
    return Contrast(family, "m", "rank 328", b, metric, 1, difference, low, high, p, p)


def large(difference=0.01, p=0.5, width=0.03, trained=100.1e6):
    base = told("m", task="multi")
    study = with_instruct(told("m-large", task="multi"), 0, 1, trained=trained)
    return Large(study, base, [contrast(difference, p, width)])


class TestC2:
    studies = (told("s"), told("m", task="multi"))

    def test_supported(self):
        verdict = c2(self.studies, large())
        assert verdict.outcome == Outcome.SUPPORTED
        assert "instruct rank 328 (100.1 M trained parameters) − head +0.010" in verdict.measured[2]

    @pytest.mark.parametrize("task", ["single", "multi"])
    def test_competes_with_a_small_budget(self, task):
        verdict = c2([*self.studies, with_instruct(told("x", task), -0.01, 0.6)], large())
        assert verdict.outcome == Outcome.NOT_SUPPORTED
        assert verdict.why == "x: it competes with 1.0 M trained parameters"

    def test_worse_with_the_large_budget_too(self):
        verdict = c2(self.studies, large(-0.2, 0.001))
        assert verdict.outcome == Outcome.NOT_SUPPORTED
        assert verdict.why == "significantly worse than head with 100.1 M trained parameters too"

    @pytest.mark.parametrize(
        ("studies", "given", "why"),
        [
            (studies, None, "was not run"),
            (studies, large(width=0.2), "possibly more than 0.05 below head"),
            (studies, large(trained=5e6), "only 5.0 M"),
            (studies[:1], large(), "no multi-label study"),
            ((*studies, with_instruct(told("x"), -0.1, 0.2, 0.2)), large(), "x: not significantly"),
        ],
    )
    def test_cannot_tell(self, studies, given, why):
        verdict = c2(studies, given)
        assert verdict.outcome == Outcome.CANNOT_TELL
        assert why in verdict.why

    def test_the_rival_is_the_better_of_head_and_encoder(self):
        base = told("m", task="multi", head=-0.1)
        behind = [contrast(0.01, 0.5), contrast(-0.2, 0.001, b="encoder")]
        assert c2(self.studies, large()._replace(base=base, contrasts=behind)).outcome == (
            Outcome.NOT_SUPPORTED
        )


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        ([], Outcome.CANNOT_TELL),
        ([contrast(0.01, 0.5)], Outcome.CANNOT_TELL),
        ([contrast(0.01, 0.5), contrast(0.05, 0.01)], Outcome.SUPPORTED),
        ([contrast(0.001, 0.5, 0.01), contrast(-0.001, 0.5, 0.01)], Outcome.NOT_SUPPORTED),
        ([contrast(0.015, 0.5, 0.001, metric="log_loss")], Outcome.CANNOT_TELL),
    ],
)
def test_c5(made, outcome):
    assert c5("pooling", made).outcome == outcome


# Contrasts


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


# What is run, and when


RECIPE = {"ingest": {"source": "x.csv"}, "base": {"source": "x"}}


class Clock:
    """Seconds that pass only while a study runs."""

    def __init__(self, state):
        self.seconds, self.state, self.ran = 0.0, state, []

    def __call__(self):
        return self.seconds

    def execute(self, study, state):
        self.ran.append(study.name)
        self.seconds += study.seconds
        if study.name == "broken":
            raise UserError("it broke")
        state.finish(study, {"run": study.name})


def small_plan():
    seconds = {"long": 1000, "broken": 100, "longer": 3000, "short": 500}
    return [Study(name, name, RECIPE, s) for name, s in seconds.items()]


def test_a_study_that_is_done_is_not_run_again(tmp_path):
    state = State(tmp_path)
    clock = Clock(state)
    assert run_all(small_plan(), state, 2, clock.execute, clock) == ["broken"]
    assert clock.ran == ["long", "broken", "longer", "short"]
    again = Clock(state)
    run_all(small_plan(), state, 2, again.execute, again)
    assert again.ran == ["broken"]


def test_a_study_with_another_recipe_is_run(tmp_path):
    state = State(tmp_path)
    state.finish(small_plan()[0], {})
    changed = replace(small_plan()[0], recipe=RECIPE | {"seeds": [1]})
    clock = Clock(state)
    run_all([changed], state, 2, clock.execute, clock)
    assert clock.ran == ["long"]


def test_a_study_that_would_take_too_long_is_not_started(tmp_path, caplog):
    state = State(tmp_path)
    clock = Clock(state)
    with caplog.at_level(logging.INFO):
        run_all(small_plan(), state, 1, clock.execute, clock)
    assert clock.ran == ["long", "broken", "short"]  # a shorter one still fits
    assert "longer: not started, it takes about 50 min and 42 min are left" in caplog.text


def test_a_killed_study_is_not_done(tmp_path):
    state = State(tmp_path)

    def killed(study, state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(small_plan(), state, 2, killed)
    assert state.result(small_plan()[0]) is None


def test_the_plan_fits_and_its_variants_have_the_rows_of_what_they_vary():
    assert sum(study.seconds for study in STUDIES) < 3 * 3600
    by_name = {study.name: study for study in STUDIES}
    assert len(by_name) == len(STUDIES)
    for study in STUDIES:
        assert str(study.parsed().ingest.source).count("${LLMCLF_CACHE}") >= 1  # no machine's place
        if study.variant:
            usual = by_name[study.variant.of].parsed()
            assert study.parsed().ingest == usual.ingest
            assert set(study.parsed().seeds) <= set(usual.seeds)


def test_an_unknown_study_is_refused():
    with pytest.raises(UserError, match="no study nothing; there are bbc-64"):
        program._chosen("nothing")


# Corpora


def write_tab(path, counts):
    rows = [
        f"{label}\t{label} text {i}\twith a tab" for label, n in counts.items() for i in range(n)
    ]
    path.write_text("\n".join(["Category\tText", "d\tstring", "class\t", "", *rows]) + "\n")


def test_reuters_is_cut_down_by_class(tmp_path):
    write_tab(tmp_path / "reuters-r8-train.tab", {"earn": 200, "grain": 41})
    write_tab(tmp_path / "reuters-r8-test.tab", {"earn": 300, "grain": 10})
    assert read_tab(tmp_path / "reuters-r8-test.tab")[0] == ("earn", "earn text 0\twith a tab")
    write_r8(tmp_path, tmp_path)
    train, validation, test = (
        (tmp_path / f"{name}.csv").read_text().splitlines()[1:]
        for name in ("train", "validation", "test")
    )
    assert len(train) == R8_TRAIN + 30
    assert len(validation) == 15 + 11
    assert len(test) == R8_TEST + 10
    texts = [{row.split(",", 1)[1] for row in rows} for rows in (train, validation)]
    assert not texts[0] & texts[1]


def test_tags_lose_their_facet_only_where_that_is_clear():
    assert short_names({"use::editing", "use::text", "works-with::text", "plain"}) == {
        "use::editing": "editing",
        "use::text": "use::text",
        "works-with::text": "works-with::text",
        "plain": "plain",
    }


# The whole way, with a tiny model


def real_plan(root):
    task = write_task(root)
    recipe = {k: v for k, v in task.recipe.items() if k != "name"} | {
        "ingest": task.recipe["ingest"] | {"source": str(root / "data.csv")},
        "approaches": ["tfidf", "head"],
        "head": {"pooling": "mean"},
        "training": task.recipe["training"] | {"epochs": 1},
    }
    last = recipe | {"approaches": ["head"], "head": {"pooling": "last"}}
    variant = Variant("tiny", "head", "pooling", "last", "mean")
    return task, [
        Study("tiny", "Tiny", recipe, 10),
        Study("tiny-last", "Tiny, last", last, 10, variant),
        Study("later", "Never run", recipe | {"seeds": [7]}, 7200),
    ]


def test_two_studies_and_their_table(tmp_path):
    task, studies = real_plan(tmp_path)
    state, output = State(tmp_path / "state"), tmp_path / "results"
    with mock.patch.dict(os.environ, task.environment(), clear=True):
        assert run_all(studies, state, 1, program.execute) == []
        write_table(studies, state, output)
    data = json.loads((output / "claims.json").read_text())
    summary = state.result(studies[0])
    head = next(a for a in summary["approaches"] if a["approach"] == "head")
    written = data["studies"]["tiny"]
    assert written["approaches"]["head"]["score"] == head["metrics"]["macro_f1"]["mean"]
    assert written["rows"] == {"train": 84, "validation": 12, "test": 24}
    assert data["not_run"] == ["later"]
    pooling = next(c for c in data["contrasts"] if c["family"] == "pooling")
    other = state.result(studies[1])["approaches"][0]["metrics"]["macro_f1"]["mean"]
    assert pooling["difference"] == pytest.approx(other - written["approaches"]["head"]["score"])
    calibrated = {(c["study"], c["a"]) for c in data["contrasts"] if c["family"] == "calibration"}
    assert calibrated == {("tiny", "tfidf after"), ("tiny", "head after")}
    text = (output / "claims.md").read_text()
    assert "Not run: Never run." in text
    assert "| C5 pooling: " in text
    assert str(tmp_path) not in text
    table_again_refuses_other_evaluations(studies, state, output)


def table_again_refuses_other_evaluations(studies, state, output):
    summary = state.result(studies[0])
    summary["approaches"][1]["metrics"]["macro_f1"]["mean"] += 0.1
    state.finish(studies[0], summary)
    with pytest.raises(UserError, match="its evaluations of head are not those of its summary"):
        table.write_table(studies, state, output)
