"""Evaluations sorted into trials of approaches, once it is sure that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from llmclf_core.config import APPROACHES
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.samerows import in_order, mismatch
from llmclf_core.failures import Failure

Trials = dict[str, list[Evaluation]]
"""Approaches, from the cheapest to the dearest, to their evaluations by rising seed."""


def grouped(evaluations: Sequence[Evaluation], missing: Sequence[Failure]) -> Trials:
    """Evaluations by approach, all with the rows in the same order.

    Raises:
        UserError: when there is none, two are the same trial, or they differ in rows, truth, labels
            or corpus, in settings within an approach, or one was trained on another corpus.
    """
    if not evaluations:
        reasons = "".join(f"\n  {one}" for one in missing)
        raise UserError(f"there is nothing to compare: no approach came to an end{reasons}")
    first = evaluations[0]
    for other in evaluations[1:]:
        if clause := mismatch(other.predictions, first.predictions):
            raise UserError(
                f"{other.trial} cannot be compared with {first.trial}: {clause}; evaluate all on "
                "the same corpus"
            )
    for evaluation in evaluations:
        _check_training(evaluation)
    trials: Trials = {}
    for evaluation in sorted(evaluations, key=_place):
        ordered = in_order(evaluation.predictions, first.predictions)
        trials.setdefault(evaluation.approach, []).append(replace(evaluation, predictions=ordered))
    for seeds in trials.values():
        _check_same_settings(seeds)
    return trials


def _place(evaluation: Evaluation) -> tuple[int, str, int]:
    known = [str(name) for name in APPROACHES]
    approach, seed = evaluation.approach, evaluation.seed
    place = known.index(approach) if approach in known else len(known)
    return place, approach, -1 if seed is None else seed


def _check_training(evaluation: Evaluation) -> None:
    trained, corpus = evaluation.trained_on, evaluation.predictions.corpus
    if trained not in (None, corpus):
        raise UserError(
            f"{evaluation.trial} was trained on corpus {trained}, but the comparison is on corpus "
            f"{corpus}; train it on that one too, or leave it out"
        )


def _check_same_settings(seeds: list[Evaluation]) -> None:
    for one, other in pairwise(seeds):
        if one.seed == other.seed:
            raise UserError(f"{one.trial} is given twice; give each trial once")
        for what, mine, theirs in zip(
            ("base model", "quantization", "number of trained parameters"),
            _settings(one),
            _settings(other),
            strict=True,
        ):
            if mine != theirs:
                raise UserError(
                    f"{one.trial} and {other.trial} differ in their {what} ({mine}, {theirs}); "
                    "trials of one approach may differ in nothing but the seed"
                )


def _settings(evaluation: Evaluation) -> tuple[str | None, str, float | None]:
    cost = evaluation.cost.get("trained_parameters")
    return evaluation.base, evaluation.quantization, cost
