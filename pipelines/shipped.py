"""The compiled pipelines that lie beside the recipes: ``python -m pipelines.shipped``."""

from __future__ import annotations

from pathlib import Path

from llmclf_core import __version__
from llmclf_core.config import load_recipe
from pipelines.compile import DEFAULT_GPU_IMAGE, compile_to

HERE = Path(__file__).parent
DIRECTORY = HERE / "compiled"
DATA = "/cache/train.csv"
"""Default source of those with a recipe: the recipes' own lies beside them on one machine."""
RECIPES = {
    "llmclf": None,
    "qwen3-0.6b": HERE / "recipes" / "qwen3-0.6b.yaml",
    "llama-3.1-8b-nf4": HERE / "recipes" / "llama-3.1-8b-nf4.yaml",
}
"""File name to recipe; None: all approaches, with the defaults."""


def compile_all(directory: Path = DIRECTORY) -> list[Path]:
    """Compile them with this version's images, whatever the environment says.

    Args:
        directory: gets the files.

    Returns:
        The files.
    """
    files = [directory / f"{name}.yaml" for name in RECIPES]
    for file, path in zip(files, RECIPES.values(), strict=True):
        recipe = load_recipe(path, {"ingest.source": DATA}) if path else None
        compile_to(file, recipe, f"llmclf:{__version__}", DEFAULT_GPU_IMAGE)
    return files


if __name__ == "__main__":
    for file in compile_all():
        print(f"compiled to {file}")
