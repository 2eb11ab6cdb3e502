"""The gate before ``champion``: floors, and no significant loss against the present champion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmclf_core.artifacts import Predictions
from llmclf_core.config import RegisterConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.significance import mcnemar_midp, paired_bootstrap

_RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True)
class Champion:
    """The present champion.

    Attributes:
        version: its version.
        predictions: of the challenger's test rows; None when they cannot be had.
        problem: why they cannot be had.
    """

    version: str
    predictions: Predictions | None = None
    problem: str = ""


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
) -> GateResult:
    """Decide whether the challenger becomes champion.

    It is refused when a metric is below its floor, or when it is significantly worse than the
    champion on the same rows: by a paired bootstrap of macro F1, or (single-label) by McNemar's
    mid-p test of accuracy, two-sided, each at ``config.significance``.

    Args:
        metrics: the challenger's test metrics.
        config: floors and level.
        challenger: the challenger's predictions of the test rows.
        champion: the present champion; None when there is none.

    Raises:
        UserError: when a floor names a metric that does not exist.
    """
    check_floor(config.floor, metrics)
    checks = [_floor(name, metrics[name], least) for name, least in config.floor.items()]
    checks += _against(challenger, champion, config.significance)
    failed = [sentence for passed, sentence in checks if not passed]
    return GateResult(not failed, failed + [sentence for passed, sentence in checks if passed])


def _floor(name: str, value: float, least: float) -> _Check:
    if value >= least:
        return True, f"{name} {value:.4f} reaches the floor {least:.4f}"
    return False, f"{name} {value:.4f} is below the floor {least:.4f}"


def _against(
    challenger: Predictions, champion: Champion | None, significance: float
) -> list[_Check]:
    if champion is None:
        return [(True, "there is no champion to compare with")]
    name = f"champion (version {champion.version})"
    if champion.predictions is None:
        return [(False, f"it cannot be compared with the {name}: {champion.problem}")]
    other = _in_order(champion.predictions, challenger)
    if other is None:
        return [(False, f"the {name} was not measured on the same rows")]
    checks = [_by_bootstrap(challenger, other, significance, name)]
    if challenger.labels.task == "single":
        checks.append(_by_mcnemar(challenger, other, significance, name))
    return checks


def _in_order(champion: Predictions, challenger: Predictions) -> Predictions | None:
    """The champion's predictions in the challenger's row order; None if they are of other rows."""
    same = champion.corpus == challenger.corpus and champion.labels == challenger.labels
    place = {row: i for i, row in enumerate(champion.ids)}
    if not same or place.keys() != set(challenger.ids):
        return None
    order = np.array([place[row] for row in challenger.ids])
    if not np.array_equal(champion.truth[order], challenger.truth):
        return None
    return Predictions(
        ids=challenger.ids,
        truth=challenger.truth,
        logits=champion.logits[order],
        probabilities=champion.probabilities[order],
        predicted=champion.predicted[order],
        labels=champion.labels,
        corpus=champion.corpus,
        classifier=champion.classifier,
    )


def _by_bootstrap(mine: Predictions, other: Predictions, level: float, name: str) -> _Check:
    # The smallest p-value is 2 / (resamples + 1); it has to be well below the level.
    resamples = max(_RESAMPLES, math.ceil(20 / level))
    gain = paired_bootstrap(
        *(mine.truth, mine.predicted, other.predicted),
        metric="macro_f1",
        resamples=resamples,
        confidence=1 - level,
        seed=_SEED,
    )
    numbers = (
        f"macro F1 {gain.difference:+.4f} against the {name} on {len(mine.ids)} rows, "
        f"{1 - level:.0%} interval [{gain.low:+.4f}, {gain.high:+.4f}], p = {gain.p:.3g}"
    )
    if gain.difference < 0 and gain.p < level:
        return False, f"significantly worse: {numbers}"
    return True, f"not significantly worse: {numbers}"


def _by_mcnemar(mine: Predictions, other: Predictions, level: float, name: str) -> _Check:
    right = (mine.truth == mine.predicted).all(axis=1)
    other_right = (mine.truth == other.predicted).all(axis=1)
    p = mcnemar_midp(right, other_right)
    won, lost = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    numbers = (
        f"{lost} rows right only by the {name}, {won} only by the challenger, McNemar p = {p:.3g}"
    )
    if lost > won and p < level:
        return False, f"significantly more errors: {numbers}"
    return True, f"not significantly more errors: {numbers}"
