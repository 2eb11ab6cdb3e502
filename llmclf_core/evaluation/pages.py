"""One self-contained HTML page for a comparison."""

from __future__ import annotations

from llmclf_core.artifacts import Corpus
from llmclf_core.evaluation import overview
from llmclf_core.evaluation.choice import RULE
from llmclf_core.evaluation.comparison import Comparison
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.names import listed, metric_name, phrase, title
from llmclf_core.evaluation.parts import render_template
from llmclf_core.evaluation.trials import grouped


def render_comparison(
    comparison: Comparison, evaluations: list[Evaluation], corpus: Corpus | None = None
) -> str:
    """The page of a comparison as HTML; it loads nothing from elsewhere and runs no script.

    Args:
        comparison: what came of it.
        evaluations: those that were compared.
        corpus: theirs, for the texts of disputed rows; without it only some texts are known.
    """
    trials = grouped(evaluations, comparison.missing)
    approaches = overview.approaches_of(comparison, [e for seeds in trials.values() for e in seeds])
    headings, costs = overview.cost_table(comparison)
    return render_template(
        "comparison.html.j2",
        c=comparison,
        approaches=approaches,
        metric=metric_name(comparison.settings.metric),
        multi=comparison.labels["task"] == "multi",
        scores=overview.scores_of(comparison),
        spread=overview.spread,
        cost_headings=headings,
        costs=costs,
        cost_plot=overview.cost_plot(comparison),
        pairs=overview.pairs_of(comparison),
        label_rows=overview.label_rows(approaches),
        disputes=overview.disputes_of(approaches, corpus),
        several_seeds=any(len(a.seeds) > 1 for a in comparison.approaches),
        missing=[(title(m.approach), m) for m in comparison.missing],
        lost=_lost(comparison),
        no_baseline=_no_baseline(comparison),
        same_training=all(e.trained_on is not None for e in evaluations),
        rule=RULE,
        data=evaluations[0].corpus_report,
    )


def _lost(comparison: Comparison) -> str:
    """Who is missing, in one sentence; empty when nobody is."""
    finished = {a.approach for a in comparison.approaches}
    gone = dict.fromkeys(m.approach for m in comparison.missing if m.approach not in finished)
    some = dict.fromkeys(m.approach for m in comparison.missing if m.approach in finished)
    parts = [f"{listed([phrase(a) for a in gone])} failed"] if gone else []
    parts += [f"{listed([phrase(a) for a in some])} lost some seeds"] if some else []
    text = "; ".join(parts)
    return text and f"{text[0].upper()}{text[1:]}. The reasons stand below."


def _no_baseline(comparison: Comparison) -> str:
    """Which of the cheap baselines were not asked for, in one line; empty when both were."""
    known = {a.approach for a in comparison.approaches} | {m.approach for m in comparison.missing}
    absent = [phrase(name) for name in ("tfidf", "probe") if name not in known]
    names = listed(absent)
    if not absent:
        return ""
    was, they, need = ("was", "it", "needs") if len(absent) == 1 else ("were", "they", "need")
    return (
        f"{names[0].upper()}{names[1:]} {was} not part of this comparison; {they} {need} little "
        "time and would show what the dearer approaches add."
    )
