"""``llmclf compile``: the pipeline as YAML."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import (
    Approaches,
    GpuImage,
    Image,
    Mounted,
    Seeds,
    Settings,
    overrides,
)

log = logging.getLogger(__name__)


def compile_pipeline(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="Recipe whose values become defaults. None: asked for at each run."),
    ] = None,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("llmclf.yaml"),
    image: Image = None,
    gpu_image: GpuImage = None,
    mounted: Mounted = None,
    approach: Approaches = None,
    seed: Seeds = None,
    settings: Settings = None,
) -> None:
    """Compile the pipeline to YAML for Kubeflow Pipelines.

    A recipe's cluster section says which steps get GPUs, memory and time. Data and models that the
    steps could not read there are warned about.
    """
    from llmclf_core.config import load_recipe
    from llmclf_core.errors import UserError
    from pipelines.compile import compile_to
    from pipelines.kubeflow.sources import unreadable

    given = overrides(approach, seed, settings)
    if given and recipe is None:
        raise UserError(f"{next(iter(given))} is a setting of a recipe; name the recipe, too")
    loaded = load_recipe(recipe, given) if recipe else None
    compile_to(output, loaded, image, gpu_image)
    if loaded and (said := unreadable(loaded, mounted or ())):
        log.warning(said)
    print(f"compiled to {output}")
