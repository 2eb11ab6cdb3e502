"""Differences that no single run tells: between settings of two studies, and what calibration does.

Rows are resampled in pairs, and p-values adjusted (Holm) over each family of questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from benchmarks.claims.state import Trial
from benchmarks.claims.study import Study, Variant
from llmclf_core.approaches.base import Calibration
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.samerows import in_order, mismatch
from llmclf_core.evaluation.seeds import resampled_means
from llmclf_core.evaluation.significance import Difference, difference_of, holm

RESAMPLES, CONFIDENCE, SEED = 10_000, 0.95, 0
FAMILIES = ("pooling", "verbalizer", "budget")

Array = npt.NDArray[np.float64]
Evaluations = Mapping[str, Mapping[Trial, Evaluation]]
"""Studies to their trials."""
Seeds = Mapping[int | None, Evaluation]
"""The trials of one approach."""


@dataclass(frozen=True)
class Contrast:
    """``a`` less ``b`` in one study.

    Attributes:
        family: of questions; p-values are adjusted over it.
        study: where the rows are from.
        a, b: settings or approaches.
        metric: ``macro_f1``, or ``log_loss`` (nats) for calibration.
        seeds: trainings on either side.
        difference, low, high, p: with the interval.
        adjusted_p: over the family.
    """

    family: str
    study: str
    a: str
    b: str
    metric: str
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    adjusted_p: float


def contrasts(studies: Sequence[Study], evaluations: Evaluations) -> list[Contrast]:
    """All of them, family by family.

    Args:
        studies: the plan.
        evaluations: of the studies that are done.

    Raises:
        UserError: when a variant has other rows than the study that it is compared with.
    """
    done = [study for study in studies if study.name in evaluations]
    found = [_adjusted(_family(family, done, evaluations)) for family in FAMILIES]
    usual = [study for study in done if study.variant is None]
    calibrated = [c for study in usual for c in _calibration(study.name, evaluations[study.name])]
    return [c for family in (*found, _adjusted(calibrated)) for c in family]


def _adjusted(family: list[Contrast]) -> list[Contrast]:
    p_values = holm([c.p for c in family]) if family else []
    return [replace(c, adjusted_p=p) for c, p in zip(family, p_values, strict=True)]


def _family(family: str, done: Sequence[Study], evaluations: Evaluations) -> list[Contrast]:
    sides: dict[str, dict[str, Seeds]] = {}
    for study in done:
        variant = study.variant
        if variant is not None and variant.family == family and variant.of in evaluations:
            there = sides.setdefault(variant.of, _rivals(variant, evaluations[variant.of]))
            there[variant.value] = _only(variant.approach, evaluations[study.name])
    found = [
        _between(family, of, (a, b), (options[a], options[b]))
        for of, options in sides.items()
        for a, b in combinations(reversed(options), 2)
        if options[a] and options[b]
    ]
    if family != "budget":
        return found
    values = {s.variant.value for s in done if s.variant is not None}
    return [c for c in found if c.a in values]  # head against encoder is told by the study itself


def _rivals(variant: Variant, trials: Mapping[Trial, Evaluation]) -> dict[str, Seeds]:
    """What a variant is compared with: the usual setting, and for the budget other approaches."""
    others = ("encoder", "head") if variant.family == "budget" else ()
    own = {variant.usual: _only(variant.approach, trials)}
    return {name: _only(name, trials) for name in others} | own


def _only(approach: str, trials: Mapping[Trial, Evaluation]) -> Seeds:
    return {seed: e for (name, seed), e in trials.items() if name == approach}


def _between(
    family: str, study: str, names: tuple[str, str], sides: tuple[Seeds, Seeds]
) -> Contrast:
    """Macro F1 of two settings, trained with the same seeds."""
    seeds = sorted(sides[0].keys() & sides[1].keys(), key=str)
    if not seeds:
        raise UserError(f"{study}: {names[0]} and {names[1]} have no seed in common")
    first = sides[0][seeds[0]].predictions
    predicted = []
    for side in sides:
        for seed in seeds:
            if clause := mismatch(side[seed].predictions, first):
                raise UserError(f"{study}: {' and '.join(names)} cannot be compared: {clause}")
        predicted.append([in_order(side[s].predictions, first).predicted for s in seeds])
    a, b = resampled_means(first.truth, predicted, "macro_f1", RESAMPLES, SEED)
    means = [float(np.mean([side[s].metrics["macro_f1"] for s in seeds])) for side in sides]
    gain = difference_of(means[0] - means[1], a - b, CONFIDENCE)
    return _contrast(family, study, names, "macro_f1", len(seeds), gain)


def _contrast(
    family: str, study: str, names: tuple[str, str], metric: str, seeds: int, gain: Difference
) -> Contrast:
    return Contrast(family, study, *names, metric, seeds, *gain, adjusted_p=gain.p)


def _calibration(study: str, trials: Mapping[Trial, Evaluation]) -> list[Contrast]:
    """Log loss after less before temperature scaling, for each approach."""
    found = []
    for approach in dict.fromkeys(name for name, _ in trials):
        seeds = list(_only(approach, trials).values())
        gains = np.mean([row_losses(e, True) - row_losses(e, False) for e in seeds], axis=0)
        names = (f"{approach} after", f"{approach} before")
        found.append(
            _contrast("calibration", study, names, "log_loss", len(seeds), mean_gain(gains))
        )
    return found


def row_losses(evaluation: Evaluation, calibrated: bool) -> Array:
    """Log loss of each test row in nats, shape (n,); over labels the mean when multi-label.

    Their mean is ``log_loss`` of :func:`llmclf_core.evaluation.metrics.probability_metrics`.
    """
    said = evaluation.predictions
    plain = Calibration.none(len(said.labels)).probabilities(said.logits, said.labels)
    step = float(np.finfo(np.float32).eps)
    chances = np.clip(said.probabilities if calibrated else plain, step, 1 - step).astype(float)
    if said.labels.task == "single":
        chances /= chances.sum(axis=1, keepdims=True)
        return np.asarray(-np.log(chances[said.truth.astype(bool)]))
    return np.asarray(-np.log(np.where(said.truth == 1, chances, 1 - chances)).mean(axis=1))


def mean_gain(gains: Array) -> Difference:
    """Mean of row-wise differences, shape (n,), with rows resampled."""
    rng, n = np.random.default_rng(SEED), len(gains)
    blocks = [rng.multinomial(n, np.full(n, 1 / n), size=1000) @ gains / n for _ in range(10)]
    return difference_of(float(gains.mean()), np.concatenate(blocks), CONFIDENCE)
