"""``llmclf plan``: what a recipe's trainings will take, before any weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Approaches, Seeds, Settings, overrides


def plan(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    approach: Approaches = None,
    seed: Seeds = None,
    settings: Settings = None,
) -> None:
    """Tell what a recipe's trainings will take: parameters, memory, steps and time.

    The data are read; of each base model a few layers, with random weights, train for a few steps,
    and what that takes is extrapolated to all of them. For a training that does not fit into this
    machine's memory, changes that make it fit are looked for, and the exit status is 1.
    """
    from llmclf_core.config import load_recipe
    from pipelines.plan import plan_and_show

    if not plan_and_show(load_recipe(recipe, overrides(approach, seed, settings))):
        raise typer.Exit(1)
