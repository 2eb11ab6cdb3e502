"""Every shipped recipe loads, and reaches the steps without losing a setting."""

from pathlib import Path

import pytest

from llmclf_core.config import Recipe, load_recipe
from pipelines.pipeline import SECTIONS, arguments

RECIPES = sorted((Path(__file__).parents[2] / "pipelines" / "recipes").glob("*.yaml"))


def test_there_are_recipes():
    assert {p.stem for p in RECIPES} >= {
        "demo", "debian-tags", "paper", "qwen3-0.6b", "llama-3.2-1b", "llama-3.1-8b-nf4"
    }  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_loads_and_is_commented(path):
    assert load_recipe(path).name
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_arguments_lose_no_setting(path):
    """Kubeflow has no null and only doubles; sections must come out as they went in."""
    recipe = load_recipe(path)
    sent = arguments(recipe)
    rebuilt = {name: doubles(sent[name]) for name in SECTIONS}
    rebuilt |= {"seeds": doubles(sent["seeds"]), "approaches": recipe.approaches}
    # What no step reads: it goes into the environment, or into the compiled pipeline's shape.
    outside = {"tracking": recipe.tracking, "cluster": recipe.cluster}
    assert Recipe(name=recipe.name, **outside, **rebuilt) == recipe


def doubles(value):
    if isinstance(value, dict):
        return {k: doubles(v) for k, v in value.items()}
    if isinstance(value, list):
        return [doubles(v) for v in value]
    return float(value) if type(value) is int else value


def test_the_papers_setting():
    recipe = load_recipe(next(p for p in RECIPES if p.stem == "paper"))
    assert recipe.ingest.text == ["title", "fclaim", "abstract"]
    assert recipe.ingest.labels.layout == "indicators"
    assert len(recipe.ingest.labels.columns) == 14
    assert recipe.ingest.labels.task == "multi"
    assert (recipe.base.quantization, recipe.tokenize.max_length) == ("nf4", 1024)


def test_no_optional_setting_has_a_default_that_null_would_lose():
    def check(section):
        for name, field in section.model_fields.items():
            nested = field.annotation
            if isinstance(nested, type) and hasattr(nested, "model_fields"):
                check(nested)
            elif type(None) in getattr(nested, "__args__", ()):
                assert field.default is None, f"{section.__name__}.{name}"

    check(Recipe)
