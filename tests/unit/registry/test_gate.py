import dataclasses

import numpy as np
import pytest

from llmclf_core.artifacts import Predictions
from llmclf_core.config import CompareConfig, RegisterConfig, parse
from llmclf_core.errors import UserError
from llmclf_core.evaluation.samerows import only
from llmclf_core.labels import LabelSpace
from llmclf_core.registry.gate import Champion, judge

ROWS = 400
METRICS = {"macro_f1": 0.9, "accuracy": 0.91, "broken": float("nan")}


def predictions(wrong, task="single", labels=3):
    """Balanced truth; the rows in ``wrong`` are predicted as the next label."""
    rows = np.arange(ROWS)
    truth = np.eye(labels, dtype=np.int8)[rows % labels]
    guess = (rows + np.isin(rows, list(wrong))) % labels
    predicted = np.eye(labels, dtype=np.int8)[guess]
    return Predictions(
        ids=[f"r{i}" for i in rows],
        truth=truth,
        logits=predicted.astype(np.float32),
        probabilities=predicted.astype(np.float32),
        predicted=predicted,
        labels=LabelSpace(tuple("abcde"[:labels]), task),
        corpus="corpus",
        classifier="c",
    )


CASES = [
    # floor, wrong rows of challenger and champion, passes, part of a sentence
    ({}, range(40), None, True, "no champion"),
    ({"macro_f1": 0.9}, (), None, True, "macro_f1 0.9000 reaches the floor 0.9000"),
    ({"macro_f1": 0.91}, (), None, False, "macro_f1 0.9000 is below the floor 0.9100"),
    ({"broken": 0.0}, (), None, False, "broken nan is below the floor"),
    ({"accuracy": 0.5, "macro_f1": 0.95}, (), None, False, "macro_f1 0.9000 is below"),
    ({}, range(20), range(20), True, "+0.0000 against the champion (version 4) on 400 rows"),
    ({}, range(60), range(20), False, "significantly worse: macro F1 -0.1"),
    ({}, range(60), range(20), False, "40 rows right only by the champion"),
    ({}, range(20), range(60), True, "the rule chooses the challenger: it reaches macro F1 0.950"),
    ({}, range(20), range(20), True, "the rule chooses the challenger: it reaches macro F1 0.950"),
    ({}, range(20), range(60), True, "not significantly worse: macro F1 +0.1"),
    ({}, range(22), range(20), False, "not significantly worse: macro F1 -0.00"),
    ({}, range(22), range(20), False, "the rule keeps the champion (version 4): it reaches"),
]


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize(("floor", "mine", "other", "passes", "sentence"), CASES)
def test_verdicts(task, floor, mine, other, passes, sentence):
    champion = None if other is None else Champion("4", predictions(other, task))
    config = RegisterConfig(floor=floor)
    result = judge(METRICS, config, predictions(mine, task), champion)
    assert result.passed is passes, result.reasons
    if task == "multi" and "rows right only" in sentence:
        assert not any("McNemar" in reason for reason in result.reasons)
    else:
        assert any(sentence in reason for reason in result.reasons), result.reasons


def test_failed_checks_come_first():
    config = RegisterConfig(floor={"accuracy": 0.5, "macro_f1": 0.95})
    reasons = judge(METRICS, config, predictions(()), None).reasons
    assert [r.split()[0] for r in reasons] == ["macro_f1", "accuracy", "there"]


def test_unknown_metric_lists_the_known():
    config = RegisterConfig(floor={"macro-f1": 0.5})
    with pytest.raises(UserError, match=r"'macro-f1'.* the metrics are accuracy, broken, macro_f1"):
        judge(METRICS, config, predictions(()), None)


COSTS = [
    # wrong rows of challenger and champion, their seconds, passes, part of the rule's sentence
    (22, 20, 10, 100, True, "which is not significantly better and takes 10 times as long"),
    (20, 22, 100, 10, False, "which is not significantly better and takes 10 times as long"),
    (20, 22, 14.9, 10, True, "is not significantly worse, but not clearly cheaper"),
    (22, 20, 10, 14.9, False, "is not significantly worse, but not clearly cheaper"),
    (20, 20, 10, 10, True, "no less than any"),
    (20, 20, 16, 10, False, "takes 1.6 times as long"),
    (20, 60, 1000, 1, True, "the champion (version 4) (0.850) is significantly worse"),
    (60, 20, 1, 1000, False, ""),
    (20, 22, None, 10, True, "the cost is not known"),
    (20, 22, 1000, None, True, "the cost is not known"),
    (22, 20, 10, None, False, "the cost is not known"),
    (20, 20, 1000, None, True, "the cost is not known"),
]


@pytest.mark.parametrize(("mine", "other", "seconds", "theirs", "passes", "sentence"), COSTS)
def test_the_rule_decides_where_neither_is_significantly_worse(
    mine, other, seconds, theirs, passes, sentence
):
    champion = Champion("4", predictions(range(other)), seconds=theirs)
    result = judge({}, RegisterConfig(), predictions(range(mine)), champion, seconds)
    assert result.passed is passes, result.reasons
    assert any(sentence in reason for reason in result.reasons), result.reasons


def test_mcnemar_is_told_and_decides_nothing():
    mine, other = predictions(range(25)), predictions(range(20))
    champion = Champion("1", other, seconds=10)
    result = judge({}, RegisterConfig(significance=0.001), mine, champion, seconds=1)
    assert result.passed
    assert result.reasons[-1].startswith("5 rows right only by the champion (version 1), 0 only")
    assert "McNemar p = 0.03" in result.reasons[-1]
    assert not result.reasons[0].startswith("significantly worse")


def test_level_decides():
    mine, other = predictions(range(25)), Champion("1", predictions(range(20)))
    refused = [
        judge({}, RegisterConfig(significance=level), mine, other).reasons[0]
        for level in (0.5, 0.05, 0.001)
    ]
    assert [reason.startswith("significantly worse") for reason in refused] == [True, True, False]


def test_other_row_order_is_the_same_comparison():
    mine, other = predictions(range(60)), predictions(range(20))
    order = np.random.default_rng(0).permutation(ROWS)
    arrays = ("truth", "logits", "probabilities", "predicted")
    shuffled = dataclasses.replace(
        other,
        ids=[other.ids[i] for i in order],
        **{name: getattr(other, name)[order] for name in arrays},
    )
    results = [judge({}, RegisterConfig(), mine, Champion("1", p)) for p in (other, shuffled)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"corpus": "another"}, "it is of corpus another, not corpus"),
        ({"ids": [f"x{i}" for i in range(ROWS)]}, "it lacks 400 of 400 rows, first 'r0'"),
        (
            {"labels": LabelSpace(("x", "y", "z"), "single")},
            "it does not know 3 labels, first 'a'",
        ),
        (
            {"truth": np.roll(predictions(()).truth, 1, axis=0)},
            "its true labels differ in 399 rows, first 'r1'",
        ),
    ],
)
def test_other_rows_are_no_comparison(change, clause):
    other = dataclasses.replace(predictions(()), **change)
    result = judge({}, RegisterConfig(), predictions(()), Champion("2", other))
    assert not result.passed
    assert result.reasons == [
        f"the champion (version 2) was not measured on the same rows: {clause}"
    ]


def test_champion_that_cannot_be_had_refuses_with_the_reason():
    champion = Champion("2", problem="base model x: no such file")
    result = judge({}, RegisterConfig(), predictions(()), champion)
    assert not result.passed
    assert "cannot be compared with the champion (version 2): base model x" in result.reasons[0]


def test_rows_that_are_left_out_count_for_neither():
    """The challenger is wrong where the champion has no answer."""
    other = only(predictions(range(100, 120)), [f"r{i}" for i in range(100, ROWS)])
    mine = predictions([*range(100), *range(100, 110)])
    result = judge({}, RegisterConfig(), mine, Champion("1", other, left_out=100))
    assert result.passed
    assert "on 300 rows (100 more left out, which it has learnt from)" in result.reasons[0]
    assert "0 rows right only by the champion (version 1), 10 only" in result.reasons[-1]
    inflated = Champion("1", predictions(range(100, 120)))
    assert not judge({}, RegisterConfig(), mine, inflated).passed


def test_rows_that_lack_for_no_reason_are_no_comparison():
    other = only(predictions(()), [f"r{i}" for i in range(300)])
    result = judge({}, RegisterConfig(), predictions(()), Champion("1", other))
    assert "it lacks 100 of 400 rows" in result.reasons[0]


def test_champion_itself_is_not_compared():
    config = RegisterConfig(floor={"accuracy": 0.95})
    result = judge(METRICS, config, predictions(()), Champion("4", itself=True))
    assert not result.passed
    assert [r.split(",")[0] for r in result.reasons] == [
        "accuracy 0.9100 is below the floor 0.9500",
        "it is the champion already",
    ]


@pytest.mark.parametrize("kind", [RegisterConfig, CompareConfig])
def test_level_that_would_take_a_million_resamples_is_refused(kind):
    assert parse(kind, {"significance": 0.001}, "x").significance == 0.001
    with pytest.raises(UserError, match=r"significance: .*0\.001"):
        parse(kind, {"significance": 0.0001}, "x")


@pytest.mark.parametrize(("level", "shown"), [(0.05, "95 %"), (0.025, "97.5 %"), (0.001, "99.9 %")])
def test_coverage_is_not_rounded(level, shown):
    other = Champion("1", predictions(range(20)))
    reason = judge({}, RegisterConfig(significance=level), predictions(range(20)), other).reasons[0]
    assert f", {shown} interval [" in reason
