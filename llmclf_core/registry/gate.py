"""The gate before ``champion``: floors, then the comparison's own rule against the champion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llmclf_core.artifacts import Predictions
from llmclf_core.config import RegisterConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.choice import Candidate, choose
from llmclf_core.evaluation.counts import Score, row_counts, scores
from llmclf_core.evaluation.names import metric_name, percent
from llmclf_core.evaluation.samerows import in_order, mismatch, only, right_rows
from llmclf_core.evaluation.significance import Difference, mcnemar_midp, paired_bootstrap

_RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True)
class Champion:
    """The present champion.

    Attributes:
        version: its version.
        predictions: of the challenger's test rows; None when they cannot be had.
        problem: why they cannot be had.
        seconds: its cost, as the challenger's; None when its version does not tell.
        left_out: how many test rows its predictions lack, because it has learnt from them.
        itself: whether it is the challenger.
    """

    version: str
    predictions: Predictions | None = None
    problem: str = ""
    seconds: float | None = None
    left_out: int = 0
    itself: bool = False


@dataclass(frozen=True)
class GateResult:
    """The answer.

    Attributes:
        passed: whether every check passed.
        reasons: a sentence with numbers for each check, failed ones first.
    """

    passed: bool
    reasons: list[str]


_Check = tuple[bool, str]


def check_floor(floor: Mapping[str, float], metrics: Mapping[str, float]) -> None:
    """Raises UserError when a floor names a metric that does not exist."""
    if unknown := sorted(set(floor) - set(metrics)):
        raise UserError(
            f"the recipe's floor names {', '.join(map(repr, unknown))}, which no evaluation has; "
            f"the metrics are {', '.join(sorted(metrics))}"
        )


def judge(
    metrics: Mapping[str, float],
    config: RegisterConfig,
    challenger: Predictions,
    champion: Champion | None,
    seconds: float | None = None,
) -> GateResult:
    """Decide whether the challenger becomes champion.

    It is refused when a metric is below its floor, or when it is significantly worse than the
    champion on the same rows, by a paired bootstrap of ``config.metric``, two-sided, at
    ``config.significance``; test rows that the champion has learnt from do not count in this. Else
    :func:`llmclf_core.evaluation.choice.choose` decides between the
    two. McNemar's mid-p of accuracy (single-label) is told beside and decides nothing.

    Args:
        metrics: the challenger's test metrics.
        config: floors and level.
        challenger: the challenger's predictions of the test rows.
        champion: the present champion; None when there is none.
        seconds: the challenger's cost; None when it is not known.

    Raises:
        UserError: when a floor names a metric that does not exist.
    """
    check_floor(config.floor, metrics)
    checks = [_floor(name, metrics[name], least) for name, least in config.floor.items()]
    checks += _against(challenger, seconds, champion, config)
    failed = [sentence for passed, sentence in checks if not passed]
    return GateResult(not failed, failed + [sentence for passed, sentence in checks if passed])


def _floor(name: str, value: float, least: float) -> _Check:
    if value >= least:
        return True, f"{name} {value:.4f} reaches the floor {least:.4f}"
    return False, f"{name} {value:.4f} is below the floor {least:.4f}"


def _against(
    challenger: Predictions,
    seconds: float | None,
    champion: Champion | None,
    config: RegisterConfig,
) -> list[_Check]:
    if champion is None:
        return [(True, "there is no champion to compare with")]
    if champion.itself:
        return [(True, "it is the champion already, and remains so until another version passes")]
    name = f"champion (version {champion.version})"
    if champion.predictions is None:
        return [(False, f"it cannot be compared with the {name}: {champion.problem}")]
    if champion.left_out:
        challenger = only(challenger, champion.predictions.ids)
    if clause := mismatch(champion.predictions, challenger):
        return [(False, f"the {name} was not measured on the same rows: {clause}")]
    other = in_order(champion.predictions, challenger)
    level, metric = config.significance, config.metric
    gain = _gain(challenger, other, level, metric)
    against = f"the {name} on {_rows(len(challenger.ids), champion.left_out)}"
    checks = [_by_bootstrap(gain, level, metric_name(metric), against)]
    if checks[0][0]:
        mine = Candidate("the challenger", _score(challenger, metric), seconds)
        theirs = Candidate(f"the {name}", _score(other, metric), champion.seconds)
        checks.append(_by_rule(mine, theirs, gain.p < level, metric))
    if challenger.labels.task == "single":
        checks.append(_by_mcnemar(challenger, other, name))
    return checks


def _gain(mine: Predictions, other: Predictions, level: float, metric: Score) -> Difference:
    # The smallest p-value is 2 / (resamples + 1); it has to be well below the level.
    return paired_bootstrap(
        *(mine.truth, mine.predicted, other.predicted),
        metric=metric,
        resamples=max(_RESAMPLES, math.ceil(20 / level)),
        confidence=1 - level,
        seed=_SEED,
    )


def _rows(rows: int, left_out: int) -> str:
    left = f" ({left_out} more left out, which it has learnt from)" if left_out else ""
    return f"{rows} rows{left}"


def _by_bootstrap(gain: Difference, level: float, metric: str, against: str) -> _Check:
    numbers = (
        f"{metric} {gain.difference:+.4f} against {against}, "
        f"{percent(1 - level)} interval [{gain.low:+.4f}, {gain.high:+.4f}], p = {gain.p:.3g}"
    )
    if gain.difference < 0 and gain.p < level:
        return False, f"significantly worse: {numbers}"
    return True, f"not significantly worse: {numbers}"


def _by_rule(mine: Candidate, theirs: Candidate, differ: bool, metric: Score) -> _Check:
    # The challenger comes first: what is equal in everything goes to it.
    chosen = choose([mine, theirs], lambda i, j: differ, metric)
    verb = "chooses" if chosen.index == 0 else "keeps"
    name = (mine, theirs)[chosen.index].name
    return chosen.index == 0, f"the rule {verb} {name}: {chosen.why}"


def _score(predictions: Predictions, metric: Score) -> float:
    counts = row_counts(predictions.truth, predictions.predicted)
    return float(scores(counts.sum(axis=0, keepdims=True))[metric][0])


def _by_mcnemar(mine: Predictions, other: Predictions, name: str) -> _Check:
    right, other_right = right_rows(mine), right_rows(other)
    p = mcnemar_midp(right, other_right)
    won, lost = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    return True, (
        f"{lost} rows right only by the {name}, {won} only by the challenger, McNemar p = {p:.3g}"
    )
