"""The figures of one study, as the verdicts and the table need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims.state import Trial
from benchmarks.claims.study import Study
from llmclf_core.artifacts import SPLITS
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluation import Evaluation

KEPT = (
    "macro_f1",
    "micro_f1",
    "accuracy",
    "log_loss",
    "uncalibrated_log_loss",
    "calibration_error",
    "uncalibrated_calibration_error",
)
TOLERANCE = 1e-9


class Gap(NamedTuple):
    """One approach less another on the same rows; McNemar's p-values only when single-label."""

    difference: float
    low: float
    high: float
    p: float
    adjusted_p: float
    mcnemar_p: float | None = None
    adjusted_mcnemar_p: float | None = None

    def turned(self) -> Gap:
        """The other less the one."""
        return self._replace(difference=-self.difference, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class ApproachRow:
    """One approach over its seeds.

    Attributes:
        base: last part of the base model's name; None without one.
        seeds: of the trials; None for an approach that knows no chance.
        score: mean of the compared metric.
        interval: (low, high) of it.
        metrics: means of :data:`KEPT`.
        trained_parameters: number.
        train_seconds: mean over seeds.
        texts_per_second: of the prediction, mean over seeds.
    """

    base: str | None
    seeds: list[int | None]
    score: float
    interval: tuple[float, float]
    metrics: dict[str, float]
    trained_parameters: float
    train_seconds: float
    texts_per_second: float


@dataclass(frozen=True)
class Figures:
    """One study.

    Attributes:
        name, title, task: of the study.
        rows: of each split.
        corpus: fingerprint.
        metric: that is compared.
        seconds: that the last call took; steps that were done before took theirs earlier.
        approaches: by name.
        pairs: gaps by (a, b), each pair once.
        missing: trials that failed.
    """

    name: str
    title: str
    task: str
    rows: dict[str, int]
    corpus: str
    metric: str
    seconds: float
    approaches: dict[str, ApproachRow]
    pairs: dict[tuple[str, str], Gap]
    missing: list[str]

    def gap(self, a: str, b: str) -> Gap | None:
        """``a`` less ``b``; None when one of them is missing."""
        if (a, b) in self.pairs:
            return self.pairs[a, b]
        return self.pairs[b, a].turned() if (b, a) in self.pairs else None

    def best_of(self, *names: str) -> str | None:
        """The one with the highest score of those that are there."""
        there = [name for name in names if name in self.approaches]
        return max(there, key=lambda name: self.approaches[name].score, default=None)


def figures(
    study: Study, summary: Mapping[str, Any], evaluations: Mapping[Trial, Evaluation]
) -> Figures:
    """Take what matters out of a run's summary.

    Args:
        study: that was run.
        summary: ``summary.json`` of the run.
        evaluations: of its trials; they have to be those of the summary.

    Raises:
        UserError: when an evaluation is not there or not the summary's.
    """
    for approach in summary["approaches"]:
        _check(study, approach, evaluations)
    report = next(iter(evaluations.values())).corpus_report
    pairs = [{name: pair[name] for name in ("a", "b", *Gap._fields)} for pair in summary["pairs"]]
    return Figures(
        name=study.name,
        title=study.title,
        task=study.task,
        rows={split: int(report["splits"][split]["rows"]) for split in SPLITS},
        corpus=summary["corpus"],
        metric=summary["metric"],
        seconds=summary["seconds"],
        approaches={a["approach"]: _row(a, summary["metric"]) for a in summary["approaches"]},
        pairs={(pair.pop("a"), pair.pop("b")): Gap(**pair) for pair in pairs},
        missing=[_failed(item) for item in summary["missing"]],
    )


def _failed(item: Mapping[str, Any]) -> str:
    seed = "" if item["seed"] is None else f" (seed {item['seed']})"
    return f"{item['approach']}{seed}, {item['step']}"  # the reason may name places of a machine


def _check(
    study: Study, approach: Mapping[str, Any], evaluations: Mapping[Trial, Evaluation]
) -> None:
    trials = [evaluations.get((approach["approach"], seed)) for seed in approach["seeds"]]
    for name in KEPT:
        values = [e.metrics[name] for e in trials if e is not None]
        told = approach["metrics"][name]["mean"]
        if len(values) < len(trials) or abs(float(np.mean(values)) - told) > TOLERANCE:
            raise UserError(
                f"{study.name}: its evaluations of {approach['approach']} are not those of its "
                "summary; delete the study's directory and run it again"
            )


def _row(approach: Mapping[str, Any], metric: str) -> ApproachRow:
    cost = approach["cost"]
    low, high = approach["interval"]
    return ApproachRow(
        base=Path(approach["base"]).name if approach["base"] else None,
        seeds=approach["seeds"],
        score=approach["metrics"][metric]["mean"],
        interval=(low, high),
        metrics={name: approach["metrics"][name]["mean"] for name in KEPT},
        trained_parameters=cost["trained_parameters"],
        train_seconds=cost["train_seconds"],
        texts_per_second=cost["predict_texts_per_second"],
    )
