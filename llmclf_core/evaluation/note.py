"""The comparison in a few lines of Markdown, for pages that show no HTML."""

from __future__ import annotations

from llmclf_core.evaluation.comparison import ApproachFigures, Comparison
from llmclf_core.evaluation.names import duration, metric_name, percent, title


def note(comparison: Comparison) -> str:
    """The answer, the table of approaches with their main figures, and who is missing."""
    metric = comparison.settings.metric
    lines = [
        comparison.answer,
        "",
        f"| approach | {metric_name(metric)} | interval | train | texts/s |",
        "| --- | --- | --- | --- | --- |",
        *(_row(a, metric, a.approach == comparison.champion) for a in comparison.approaches),
        "",
        f"{comparison.rows:,} test rows; intervals of {percent(comparison.settings.confidence)}.",
    ]
    lines += [f"Missing: {missing}." for missing in comparison.missing]
    return "\n".join(lines)


def _row(a: ApproachFigures, metric: str, best: bool) -> str:
    name = f"**{title(a.approach)}**" if best else title(a.approach)
    seconds = a.cost.get("train_seconds")
    cells = [
        name,
        f"{a.metrics[metric].mean:.4f}",
        f"{a.interval[0]:.3f} – {a.interval[1]:.3f}",
        "" if seconds is None else duration(seconds),
        f"{a.cost['predict_texts_per_second']:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"
