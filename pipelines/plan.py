"""Plan the trainings of a recipe, and show what each will take."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table

from llmclf_core.artifacts import TRAIN, VALIDATION
from llmclf_core.config import Recipe
from llmclf_core.evaluation.names import duration, title
from llmclf_core.planning.advice import Advice, advise, shown
from llmclf_core.planning.check import Room, gigabytes
from llmclf_core.planning.recipe import Plan, Planner, planner
from llmclf_core.planning.setup import NEURAL

_HEADINGS = ("trained", "frozen", "memory", "of", "fits", "steps", "time")
_NONE = "–"


def plan_and_show(recipe: Recipe) -> bool:
    """Plan every training, print the table, and what to change where it does not fit.

    Args:
        recipe: what is to run.

    Returns:
        Whether all fit.

    Raises:
        UserError: for data or settings that a run would refuse.
    """
    with planner(recipe.ingest) as ours:
        plans: dict[str, Plan] = {a: ours.plan(recipe, a) for a in NEURAL if a in recipe.approaches}
        advice = {a: advise(ours, recipe, plan) for a, plan in plans.items() if plan.lack}
    console = Console()
    console.print(_table(recipe, plans, ours.room))
    for line in [*_legend(recipe, ours), *_advised(plans, advice)]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return not advice


def _table(recipe: Recipe, plans: Mapping[str, Plan], room: Room) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("approach")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for approach in recipe.approaches:
        plan = plans.get(approach)
        figures = _figures(plan, room) if plan else [_NONE] * len(_HEADINGS)
        table.add_row(title(approach), *figures)
    return table


def _figures(plan: Plan, room: Room) -> list[str]:
    taken, fits = plan.taken, "no" if plan.lack else "yes"
    if taken is None:
        return [_NONE, _NONE, _NONE, gigabytes(room.memory), fits, f"{plan.steps:,}", _NONE]
    on_gpu = taken.gpu and room.gpu is not None
    need, have = (taken.gpu, room.gpu) if on_gpu else (taken.memory, room.memory)
    return [
        f"{taken.trained:,.0f}",
        f"{taken.base:,.0f}",
        gigabytes(need),
        gigabytes(have or 0),
        fits,
        f"{plan.steps:,}",
        duration(plan.seconds),
    ]


def _legend(recipe: Recipe, ours: Planner) -> Iterator[str]:
    rows = ours.rows
    yield (
        f"{rows.total[TRAIN]:,} training and {rows.total[VALIDATION]:,} validation rows, near "
        f"duplicates included; {rows.read[TRAIN]:,} and {rows.read[VALIDATION]:,} were tokenized"
    )
    seeds = f"; {len(recipe.seeds)} seeds take so many times" if len(recipe.seeds) > 1 else ""
    yield (
        f"trained and frozen: parameters; time: of one seed, roughly, without early stopping, by a "
        f"few layers' training on {platform.machine()} at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        f"{seeds}"
    )


def _advised(plans: Mapping[str, Plan], advice: Mapping[str, list[Advice]]) -> Iterator[str]:
    for approach, found in advice.items():
        yield f"{title(approach)} does not fit: it needs {plans[approach].lack}"
        for advised in found:
            taken = advised.plan.taken
            need = f" ({gigabytes(taken.gpu or taken.memory)})" if taken else ""
            yield f"  fits with {shown(advised.changes)}{need}"
        if not found:
            yield "  nor does it with smaller batches, checkpointing, 4 bits and shorter texts"
