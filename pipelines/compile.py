"""Compile the pipeline to YAML."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from kfp import compiler

from llmclf_core.config import Recipe
from llmclf_core.errors import explain_os_errors


def compile_to(output: Path, recipe: Recipe | None = None, image: str | None = None) -> None:
    """Write the pipeline's intermediate representation.

    Args:
        output: YAML file to write.
        recipe: its approaches become the branches, its values the default arguments.
        image: image of all components, instead of the default one.

    Raises:
        UserError: when the file cannot be written.
    """
    pipeline = _pipeline(image)
    values = pipeline.arguments(recipe) if recipe else {}
    with explain_os_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = output.with_name(f".{output.stem}.draft.yaml")
        try:
            built = pipeline.build(recipe.approaches) if recipe else pipeline.build()
            compiler.Compiler().compile(built, str(draft), pipeline_parameters=values)
            os.replace(draft, output)
        finally:
            draft.unlink(missing_ok=True)


def _pipeline(image: str | None):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """The pipeline module; its components take their image when they are imported."""
    if image is not None and image != os.environ.get("LLMCLF_IMAGE"):
        os.environ["LLMCLF_IMAGE"] = image
        for name in [
            m
            for m in sys.modules
            if m.startswith(("components", "pipelines.branches", "pipelines.pipeline"))
        ]:
            del sys.modules[name]
    return importlib.import_module("pipelines.pipeline")
