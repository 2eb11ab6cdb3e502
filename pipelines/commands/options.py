"""What several commands have in common: options, and a recipe with overrides."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from llmclf_core.errors import UserError


class ApproachName(StrEnum):
    """Choices of ``--approach``."""

    tfidf = "tfidf"
    probe = "probe"
    encoder = "encoder"
    head = "head"
    instruct = "instruct"


Runs = Annotated[Path, typer.Option(help="Directory of runs, step cache and embedded MLflow.")]
Approaches = Annotated[
    list[ApproachName] | None,
    typer.Option("--approach", help="What to compare; repeat for several."),
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", help="Training seed; repeat for several.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting: training.patience=3.")
]

Image = Annotated[
    str | None, typer.Option(help="Image of all steps: registry/name:tag, or …@sha256:…")
]
GpuImage = Annotated[
    str | None, typer.Option(help="Instead, of the steps with a GPU. Default: as --image.")
]
Mounted = Annotated[
    list[str] | None,
    typer.Option(help="Directory that the steps have beside /cache; repeat for several."),
]


def overrides(
    approach: list[ApproachName] | None, seed: list[int] | None, settings: list[str] | None
) -> dict[str, Any]:
    """The recipe settings that ``--approach``, ``--seed`` and ``--set`` replace.

    Raises:
        UserError: for a ``--set`` without ``=``.
    """
    given: dict[str, Any] = {}
    if seed:
        given["seeds"] = seed
    if approach:
        given["approaches"] = [a.value for a in approach]
    return given | _parsed(settings)


def _parsed(settings: list[str] | None) -> dict[str, Any]:
    parsed = {}
    for item in settings or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item}: write it as section.setting=value")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed[key] = value  # a lone sign, such as a delimiter
    return parsed
