"""What to change in a recipe for a training that does not fit into memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from llmclf_core.config import LoraConfig, Recipe, TokenizeConfig, TrainingConfig, parse_recipe
from llmclf_core.errors import UserError
from llmclf_core.planning.recipe import Plan, Planner
from llmclf_core.planning.setup import Neural, Setup, setup_of

log = logging.getLogger(__name__)

_SHORTEST = 64
"""Tokens of a text; less of it would hardly tell its label."""
_TOP = 4
"""Layers with an adapter."""

Changes = dict[str, Any]
"""Dotted settings of a recipe to new values."""


@dataclass(frozen=True)
class Advice:
    """Changes with which a training fits.

    Attributes:
        changes: dotted settings to new values.
        plan: with them.
    """

    changes: Changes
    plan: Plan


def advise(planner: Planner, recipe: Recipe, plan: Plan) -> list[Advice]:
    """Plan a training that does not fit with one change after the other.

    Args:
        planner: of the recipe's data.
        recipe: as it is.
        plan: of a training that does not fit.

    Returns:
        What fits, in the order of how little it changes the outcome; when no single change is
        enough, all of them together, if these are; else nothing.
    """
    approach = plan.approach
    setup, rules = setup_of(recipe, approach)
    candidates = _changes(setup, rules)
    found = [advice for c in candidates if (advice := _tried(planner, recipe, approach, c))]
    if found:
        return found
    together = {key: value for changes in candidates for key, value in changes.items()}
    last = _tried(planner, recipe, approach, together)
    return [last] if last else []


def _tried(planner: Planner, recipe: Recipe, approach: Neural, changes: Changes) -> Advice | None:
    log.info("%s: trying %s", approach, shown(changes))
    try:
        # Unset settings are left out: sections cannot be set in them.
        changed = parse_recipe(recipe.model_dump(exclude_none=True), changes, "the changed recipe")
        plan = planner.plan(changed, approach)
    except UserError as error:  # such as a prompt that leaves no room for a text
        log.info("%s: that does not go: %s", approach, error)
        return None
    return None if plan.lack else Advice(changes, plan)


def _changes(setup: Setup, rules: TokenizeConfig) -> list[Changes]:
    """Single changes that save memory; those that change the outcome least come first."""
    own = "" if setup.approach == "head" else f"{setup.approach}."
    base = "encoder.base" if setup.approach == "encoder" else "base"
    # An encoder of which all weights train has no adapter yet.
    adapter = {} if setup.lora else {f"{own}lora.rank": LoraConfig().rank}
    top = setup.lora.top_layers if setup.lora else None
    changes = _smaller_batches(setup.training, f"{own}training")
    if not setup.training.gradient_checkpointing:
        changes.append({f"{own}training.gradient_checkpointing": True})
    changes.append(adapter)
    if setup.base.quantization == "none":
        changes.append(adapter | {f"{base}.quantization": "nf4"})
    if rules.max_length >= 2 * _SHORTEST:
        changes.append({f"{own}tokenize.max_length": rules.max_length // 2})
    if top is None or top > _TOP:
        changes.append({f"{own}lora.top_layers": _TOP})
    return list(filter(None, changes))


def _smaller_batches(training: TrainingConfig, section: str) -> list[Changes]:
    """Half of a batch, and single rows; a step has as many rows as before, or a few more."""
    sizes = {training.batch_size // 2, 1} - {0, training.batch_size}
    return [
        {
            f"{section}.batch_size": size,
            f"{section}.accumulation": -(-training.batch_size // size) * training.accumulation,
        }
        for size in sorted(sizes, reverse=True)
    ]


def shown(changes: Changes) -> str:
    """As options: ``--set training.batch_size=4 --set training.accumulation=2``."""
    return " ".join(f"--set {key}={_yaml(value)}" for key, value in changes.items())


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
