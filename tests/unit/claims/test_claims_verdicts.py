"""Verdicts from made-up figures, one for each way in which they may come out."""

from dataclasses import replace

import pytest

from benchmarks.claims.budget import Large, c2
from benchmarks.claims.contrasts import Contrast
from benchmarks.claims.figures import ApproachRow, Figures, Gap
from benchmarks.claims.rules import Outcome
from benchmarks.claims.verdicts import c1, c4, c5
from llmclf_core.config import APPROACHES

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
