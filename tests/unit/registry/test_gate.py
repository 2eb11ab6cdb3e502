import dataclasses

import numpy as np
import pytest

from llmclf_core.artifacts import Predictions
from llmclf_core.config import RegisterConfig
from llmclf_core.errors import UserError
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
    ({}, range(20), range(60), True, "not significantly worse: macro F1 +0.1"),
    ({}, range(22), range(20), True, "not significantly worse: macro F1 -0.00"),
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


def test_level_decides():
    mine, other = predictions(range(30)), Champion("1", predictions(range(20)))
    verdicts = [
        judge({}, RegisterConfig(significance=level), mine, other).passed
        for level in (0.5, 0.05, 0.0001)
    ]
    assert verdicts == [False, False, True]


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
    "change",
    [
        {"corpus": "another"},
        {"ids": [f"x{i}" for i in range(ROWS)]},
        {"labels": LabelSpace(("x", "y", "z"), "single")},
        {"truth": np.roll(predictions(()).truth, 1, axis=0)},
    ],
)
def test_other_rows_are_no_comparison(change):
    other = dataclasses.replace(predictions(()), **change)
    result = judge({}, RegisterConfig(), predictions(()), Champion("2", other))
    assert not result.passed
    assert result.reasons == ["the champion (version 2) was not measured on the same rows"]


def test_champion_that_cannot_be_had_refuses_with_the_reason():
    champion = Champion("2", problem="base model x: no such file")
    result = judge({}, RegisterConfig(), predictions(()), champion)
    assert not result.passed
    assert "cannot be compared with the champion (version 2): base model x" in result.reasons[0]
