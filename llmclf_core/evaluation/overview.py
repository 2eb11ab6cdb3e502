"""What the comparison's page shows, ready for its template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from llmclf_core.artifacts import TEST, Corpus
from llmclf_core.evaluation.comparison import ApproachFigures, Comparison, PairFigures, Spread
from llmclf_core.evaluation.disagreement import Disputed, Pattern, disputed, patterns
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.mistakes import excerpt
from llmclf_core.evaluation.names import duration, listed, metric_name, phrase, title
from llmclf_core.evaluation.parts import Parts, parts_of
from llmclf_core.evaluation.plots import CostPoint, cost_svg

MAX_CURVES = 8
MAX_PATTERNS = 12

_METRICS = {
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "accuracy": "Accuracy",
    "macro_average_precision": "Average precision, macro",
    "calibration_error": "Calibration error",
}


@dataclass(frozen=True)
class Approach:
    """One approach on the page.

    Attributes:
        figures: over all seeds.
        title: in tables.
        phrase: in sentences.
        evaluation: of the trial with the best validation score, which the plots show.
        parts: plots and tables of that trial.
        left, width, dot: of the interval in the table, in percent of its track.
    """

    figures: ApproachFigures
    title: str
    phrase: str
    evaluation: Evaluation
    parts: Parts
    left: float
    width: float
    dot: float


def approaches_of(comparison: Comparison, evaluations: list[Evaluation]) -> list[Approach]:
    """The approaches, the highest score first."""
    metric = comparison.settings.metric
    chosen = {(e.approach, e.predictions.classifier): e for e in evaluations}
    figures = sorted(comparison.approaches, key=lambda a: -a.metrics[metric].mean)
    low = min(a.interval[0] for a in figures)
    width = max(a.interval[1] for a in figures) - low or 1.0
    return [
        Approach(
            figures=a,
            title=title(a.approach),
            phrase=phrase(a.approach),
            evaluation=chosen[a.approach, a.chosen],
            parts=parts_of(chosen[a.approach, a.chosen], MAX_CURVES, f" of {phrase(a.approach)}"),
            left=100 * (a.interval[0] - low) / width,
            width=100 * (a.interval[1] - a.interval[0]) / width,
            dot=100 * (a.metrics[metric].mean - low) / width,
        )
        for a in figures
    ]


def scores_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Names and titles of the metrics in the table, the compared one left out."""
    hidden = {comparison.settings.metric}
    if comparison.labels["task"] == "single":
        hidden.add("micro_f1")  # it is the accuracy
    shown = comparison.approaches[0].metrics
    return [(n, heading) for n, heading in _METRICS.items() if n in shown and n not in hidden]


def spread(figure: Spread) -> str:
    """``0.953 ± 0.004``; the deviation only where there are several seeds."""
    deviation = "" if figure.deviation is None else f" ± {figure.deviation:.3f}"
    return f"{figure.mean:.3f}{deviation}"


def cost_table(comparison: Comparison) -> tuple[list[str], dict[str, list[str]]]:
    """Headings, and the cells of each approach; what no approach knows is left out."""
    texts = comparison.settings.texts
    rows = {a.approach: _costs(a, texts) for a in comparison.approaches}
    columns = [
        (name, heading, shown)
        for name, heading, shown in _COSTS
        if any(name in row for row in rows.values())
    ]
    cells = {
        approach: [shown(row[name]) if name in row else "–" for name, _, shown in columns]
        for approach, row in rows.items()
    }
    return [heading.format(texts=texts) for _, heading, _ in columns], cells


def _costs(figures: ApproachFigures, texts: int) -> dict[str, float]:
    total = {} if figures.seconds is None else {"total": figures.seconds}
    classify = {"classify_seconds": texts / figures.cost["predict_texts_per_second"]}
    return figures.cost | total | classify


def _number(value: float) -> str:
    """Three digits: ``0.0123``, ``4.56``, ``1,230``."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def _count(value: float) -> str:
    for size, unit in ((1e9, " B"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}"


_COSTS: list[tuple[str, str, Callable[[float], str]]] = [
    ("total", "Total", duration),
    ("train_seconds", "Training", duration),
    ("classify_seconds", "Classifying {texts:,} texts", duration),
    ("predict_texts_per_second", "Texts/s", _number),
    ("trained_parameters", "Trained parameters", _count),
    ("train_tokens_per_second", "Tokens/s in training", _number),
    ("peak_memory_mb", "Peak memory, MB", _number),
    ("peak_gpu_memory_mb", "Peak GPU memory, MB", _number),
    ("artifact_mb", "Artifact, MB", _number),
]


def cost_plot(comparison: Comparison) -> Markup | None:
    """Score against cost; None unless two approaches know their cost."""
    metric = comparison.settings.metric
    known = [a for a in comparison.approaches if a.seconds]
    if len(known) < 2:
        return None
    scores = {a.approach: (a.metrics[metric].mean, a.seconds or 0.0) for a in known}
    points = [
        CostPoint(
            title(a.approach),
            scores[a.approach][1],
            scores[a.approach][0],
            *a.interval,
            front=not any(_beats(other, scores[a.approach]) for other in scores.values()),
            champion=a.approach == comparison.champion,
        )
        for a in known
    ]
    told = "; ".join(f"{p.title} {p.score:.3f} for {duration(p.seconds)}" for p in points)
    front = listed([p.title for p in points if p.front])
    name = metric_name(metric)
    name = name[0].upper() + name[1:]
    return cost_svg(points, name, f"{name} against cost. {told}. On the Pareto front: {front}.")


def _beats(other: tuple[float, float], mine: tuple[float, float]) -> bool:
    """Better in one of score and seconds, and no worse in both."""
    return other != mine and other[0] >= mine[0] and other[1] <= mine[1]


@dataclass(frozen=True)
class Pair:
    """A pair, turned so that ``better`` has the higher score."""

    better: str
    other: str
    difference: float
    low: float
    high: float
    figures: PairFigures
    only_better: float
    only_other: float
    significant: bool


def pairs_of(comparison: Comparison) -> list[Pair]:
    """Every pair, the largest difference first."""
    level = comparison.settings.significance
    turned = []
    for p in comparison.pairs:
        sides = ((p.a, p.only_a), (p.b, p.only_b))
        bounds = (p.difference, p.low, p.high)
        if p.difference < 0:
            sides, bounds = (sides[1], sides[0]), (-p.difference, -p.high, -p.low)
        (better, only_better), (other, only_other) = sides
        turned.append(
            Pair(
                *(title(better), title(other), *bounds, p, only_better, only_other),
                significant=p.difference != 0 and p.adjusted_p < level,
            )
        )
    return sorted(turned, key=lambda pair: -pair.difference)


@dataclass(frozen=True)
class Disputes:
    """Where the approaches disagree.

    Attributes:
        patterns: who is right on how many rows, the commonest first.
        left_out: how many further patterns there are.
        rows: the most disputed rows.
        excerpts: their texts, by id, as far as known.
    """

    patterns: list[Pattern]
    left_out: int
    rows: list[Disputed]
    excerpts: dict[str, str]


def disputes_of(approaches: list[Approach], corpus: Corpus | None) -> Disputes:
    """Of the shown trials; texts come from the corpus, else from the lists of mistakes."""
    predictions = [a.evaluation.predictions for a in approaches]
    kinds, rows = patterns(predictions), disputed(predictions)
    texts = {m["id"]: m["excerpt"] for a in approaches for m in a.evaluation.mistakes}
    if corpus is not None:
        place = {row: i for i, row in enumerate(corpus.splits[TEST]["id"])}
        texts |= {r.id: excerpt(corpus.splits[TEST][place[r.id]]["text"]) for r in rows}
    return Disputes(kinds[:MAX_PATTERNS], max(0, len(kinds) - MAX_PATTERNS), rows, texts)


def label_rows(approaches: list[Approach]) -> list[dict[str, Any]]:
    """Each label's name, number of texts, and cells: mean F1, shade in [0, 1], whether the best."""
    everything = [f1 for a in approaches for f1 in a.figures.label_f1]
    low, width = min(everything), max(everything) - min(everything) or 1.0
    rows = []
    for i, row in enumerate(approaches[0].evaluation.per_label):
        scores = [a.figures.label_f1[i] for a in approaches]
        best = max(scores)
        cells = [(f1, (f1 - low) / width, f"{f1:.3f}" == f"{best:.3f}") for f1 in scores]
        rows.append({"label": row["label"], "support": row["support"], "cells": cells})
    return rows
