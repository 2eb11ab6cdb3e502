"""From the state directory to everything the table says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.claims.budget import Large, c2
from benchmarks.claims.contrasts import Contrast, contrasts
from benchmarks.claims.figures import Figures, figures
from benchmarks.claims.rules import Verdict
from benchmarks.claims.state import State
from benchmarks.claims.study import Study
from benchmarks.claims.verdicts import c1, c4, c5

ABLATIONS = ("pooling", "verbalizer", "calibration")


@dataclass(frozen=True)
class Judged:
    """What is known.

    Attributes:
        figures: of the studies that are done, by name.
        contrasts: between studies, and of calibration.
        verdicts: one a claim, or a part of one.
        missing: studies that were not run.
        digests: SHA-256 of the corpora's files.
        made_on: machine, libraries and code of each study that is done.
    """

    figures: dict[str, Figures]
    contrasts: list[Contrast]
    verdicts: list[Verdict]
    missing: list[Study]
    digests: dict[str, str]
    made_on: dict[str, dict[str, Any]]


def judge(studies: Sequence[Study], state: State) -> Judged:
    """Judge the claims by the studies that are done.

    Args:
        studies: the plan.
        state: what is done.

    Raises:
        UserError: when results do not fit together.
    """
    results = {study.name: result for study in studies if (result := state.result(study))}
    done = [study for study in studies if study.name in results]
    evaluations = {study.name: state.evaluations(study) for study in done}
    told = {s.name: figures(s, results[s.name], evaluations[s.name]) for s in done}
    made = contrasts(studies, evaluations)
    digests = {k: v for result in results.values() for k, v in result["digests"].items()}
    missing = [study for study in studies if study.name not in results]
    made_on = {name: result["made_on"] for name, result in results.items()}
    return Judged(told, made, verdicts(studies, told, made), missing, digests, made_on)


def verdicts(
    studies: Sequence[Study], told: Mapping[str, Figures], made: Sequence[Contrast]
) -> list[Verdict]:
    """All claims that can be judged on one machine without a large model.

    Args:
        studies: the plan; says which studies are variants of others.
        told: figures of the studies that are done.
        made: contrasts.
    """
    usual = [told[s.name] for s in studies if s.variant is None and s.name in told]
    return [
        c1([s for s in usual if s.task == "single"]),
        c2(usual, _large(studies, told, made)),
        c4(usual),
        *(c5(family, [c for c in made if c.family == family]) for family in ABLATIONS),
    ]


def _large(
    studies: Sequence[Study], told: Mapping[str, Figures], made: Sequence[Contrast]
) -> Large | None:
    for study in studies:
        variant = study.variant
        if variant and variant.family == "budget" and {study.name, variant.of} <= told.keys():
            contrasted = [c for c in made if c.family == "budget" and c.study == variant.of]
            return Large(told[study.name], told[variant.of], contrasted)
    return None
