"""Compare evaluations: approaches over their seeds, pair by pair, and the champion."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from itertools import combinations, product

import numpy as np

from llmclf_core.config import CompareConfig
from llmclf_core.evaluation.choice import Candidate, choose
from llmclf_core.evaluation.comparison import (
    ApproachFigures,
    Comparison,
    PairFigures,
    Spread,
)
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.evaluation.names import phrase
from llmclf_core.evaluation.samerows import right_rows
from llmclf_core.evaluation.seeds import Array, resampled_means
from llmclf_core.evaluation.significance import (
    Difference,
    combined_p,
    difference_of,
    holm,
    mcnemar_midp,
)
from llmclf_core.evaluation.trials import Trials, grouped
from llmclf_core.failures import Failure

_log = logging.getLogger(__name__)


def compare(
    evaluations: Sequence[Evaluation], missing: Sequence[Failure], config: CompareConfig
) -> Comparison:
    """Judge all approaches on the same rows and name the champion.

    Args:
        evaluations: one a trial (an approach and a seed), in any order.
        missing: the trials that failed.
        config: metric, resamples, levels.

    Raises:
        UserError: when there is no trial, two are the same, or they differ in rows, truth, labels
            or corpus, in settings within an approach, or one was trained on another corpus.
    """
    trials = grouped(evaluations, missing)
    sampled = _resampled(trials, config)
    figures = [_figures(a, trials[a], sampled[a], config) for a in trials]
    first = evaluations[0].predictions
    comparison = Comparison(
        approaches=figures,
        pairs=_pairs(trials, sampled, config),
        missing=list(missing),
        champion="",
        answer="",
        settings=config,
        resamples=_resamples(len(trials), config),
        rows=len(first.ids),
        labels=first.labels.to_json(),
        corpus=first.corpus,
    )
    _name_champion(comparison)
    _log.info("%s", comparison.answer)
    return comparison


def _resampled(trials: Trials, config: CompareConfig) -> dict[str, Array]:
    """Mean scores in each bootstrap sample, by approach."""
    truth = next(iter(trials.values()))[0].predictions.truth
    predicted = [[e.predictions.predicted for e in seeds] for seeds in trials.values()]
    resamples = _resamples(len(trials), config)
    sampled = resampled_means(truth, predicted, config.metric, resamples, config.seed)
    return dict(zip(trials, sampled, strict=True))


def _resamples(approaches: int, config: CompareConfig) -> int:
    # The smallest p is 2 / (resamples + 1); times the pairs it has to be well below the level.
    pairs = math.comb(approaches, 2)
    return max(config.bootstrap, math.ceil(10 * pairs / config.significance))


def _figures(
    approach: str, seeds: list[Evaluation], sampled: Array, config: CompareConfig
) -> ApproachFigures:
    tail = (1 - config.confidence) / 2
    # A mean over seeds, stretched as it is, may lie outside.
    low, high = np.quantile(sampled, [tail, 1 - tail]).clip(0, 1)
    chosen = _best_on_validation(seeds, config.metric)
    totals = [total for e in seeds if (total := e.seconds_for(config.texts)) is not None]
    return ApproachFigures(
        approach=approach,
        seeds=[e.seed for e in seeds],
        base=seeds[0].base,
        quantization=seeds[0].quantization,
        metrics={name: _spread([e.metrics[name] for e in seeds]) for name in seeds[0].metrics},
        interval=(float(low), float(high)),
        cost=_costs(seeds),
        seconds=_mean(totals) if len(totals) == len(seeds) else None,
        label_f1=[
            _mean([row["f1"] for row in rows])
            for rows in zip(*(e.per_label for e in seeds), strict=True)
        ],
        chosen=chosen.predictions.classifier,
        chosen_seed=chosen.seed,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _spread(values: list[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(_mean(values), min(values), max(values), deviation)


def _costs(seeds: list[Evaluation]) -> dict[str, float]:
    names = [name for name in seeds[0].cost if all(name in e.cost for e in seeds)]
    means = {name: _mean([e.cost[name] for e in seeds]) for name in names}
    return means | {"predict_texts_per_second": _mean([e.texts_per_second for e in seeds])}


def _best_on_validation(seeds: list[Evaluation], metric: str) -> Evaluation:
    """Never chosen on test rows; the first of equals, and the first when nothing is known."""
    known = [name for name in seeds[0].validation if name.startswith("best_validation_")]
    wanted = f"best_validation_{metric}"
    name = wanted if wanted in known else next(iter(known), wanted)
    return max(seeds, key=lambda e: e.validation.get(name, -math.inf))


def _pairs(trials: Trials, sampled: dict[str, Array], config: CompareConfig) -> list[PairFigures]:
    names = list(combinations(trials, 2))
    gains = [_difference(trials[a], trials[b], sampled[a] - sampled[b], config) for a, b in names]
    counts = [_discordance(trials[a], trials[b]) for a, b in names]
    single = next(iter(trials.values()))[0].predictions.labels.task == "single"
    boot = holm([gain.p for gain in gains])
    mcnemar = holm([p for p, _, _ in counts])
    return [
        PairFigures(
            *(*names[i], *gains[i], boot[i]),
            mcnemar_p=p if single else None,
            adjusted_mcnemar_p=mcnemar[i] if single else None,
            only_a=only_a,
            only_b=only_b,
        )
        for i, (p, only_a, only_b) in enumerate(counts)
    ]


def _difference(
    a: list[Evaluation], b: list[Evaluation], sampled: Array, config: CompareConfig
) -> Difference:
    mine, theirs = (_mean([e.metrics[config.metric] for e in seeds]) for seeds in (a, b))
    return difference_of(mine - theirs, sampled, config.confidence)


def _discordance(a: list[Evaluation], b: list[Evaluation]) -> tuple[float, float, float]:
    """McNemar's p over pairings of seeds, and the mean numbers of rows that only one gets right."""
    p_values, only_a, only_b = [], [], []
    for mine, theirs in _pairings(a, b):
        right, other = right_rows(mine.predictions), right_rows(theirs.predictions)
        p_values.append(mcnemar_midp(right, other))
        only_a.append(int((right & ~other).sum()))
        only_b.append(int((other & ~right).sum()))
    return combined_p(p_values), _mean(only_a), _mean(only_b)


def _pairings(a: list[Evaluation], b: list[Evaluation]) -> Iterable[tuple[Evaluation, Evaluation]]:
    if len(a) == 1 or len(b) == 1:
        return product(a, b)
    return zip(a, b, strict=False)  # a failed seed leaves one of them shorter


def _name_champion(comparison: Comparison) -> None:
    """By the rule of :mod:`llmclf_core.evaluation.choice`."""
    metric, approaches = comparison.settings.metric, comparison.approaches
    choice = choose(
        [Candidate(phrase(a.approach), a.metrics[metric].mean, a.seconds) for a in approaches],
        lambda i, j: comparison.significantly_worse(approaches[i].approach, approaches[j].approach),
        metric,
    )
    comparison.champion = approaches[choice.index].approach
    finished = {a.approach for a in approaches}
    lost = any(m.approach not in finished for m in comparison.missing)
    among = "Of the approaches that finished, use" if lost and len(finished) > 1 else "Use"
    comparison.answer = f"{among} {phrase(comparison.champion)}: {choice.why}."
