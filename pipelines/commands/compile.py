"""``llmclf compile``: the pipeline as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import (
    Approaches,
    GpuImage,
    Image,
    Seeds,
    Settings,
    overrides,
)


def compile_pipeline(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="Recipe whose values become defaults. None: asked for at each run."),
    ] = None,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("llmclf.yaml"),
    image: Image = None,
    gpu_image: GpuImage = None,
    approach: Approaches = None,
    seed: Seeds = None,
    settings: Settings = None,
) -> None:
    """Compile the pipeline to YAML for Kubeflow Pipelines.

    A recipe's cluster section says which steps get GPUs, memory and time.
    """
    from llmclf_core.config import load_recipe
    from llmclf_core.errors import UserError
    from pipelines.compile import compile_to

    given = overrides(approach, seed, settings)
    if given and recipe is None:
        raise UserError(f"{next(iter(given))} is a setting of a recipe; name the recipe, too")
    compile_to(output, load_recipe(recipe, given) if recipe else None, image, gpu_image)
    print(f"compiled to {output}")
