"""Where a recipe's data and models lie, seen from a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from llmclf_core.config import Recipe
from llmclf_core.corpus.sources import HUB_ID, is_hub_id
from llmclf_core.errors import UserError
from llmclf_core.paths import expand
from pipelines.local import files_version

CACHE = "/cache"
"""Where every step finds the cluster's shared volume; ``LLMCLF_CACHE`` there."""

_LLM = {"head", "instruct", "probe"}


def check_places(recipe: Recipe, mounted: Sequence[str] = ()) -> None:
    """Refuse what steps could not read; arguments as :func:`unreadable`.

    Raises:
        UserError: naming every such setting.
    """
    if said := unreadable(recipe, mounted):
        raise UserError(said)


def unreadable(recipe: Recipe, mounted: Sequence[str] = ()) -> str | None:
    """What steps could not read: what only this machine has, and addresses of files.

    Args:
        recipe: its data, and the models of its approaches.
        mounted: directories that the steps have beside ``/cache``.

    Returns:
        A message naming every such setting; None: there is none.
    """
    wrong = {
        setting: place
        for setting, place in {**_data(recipe), **_models(recipe)}.items()
        if not _there(place, mounted, recipe.ingest.format if "ingest" in setting else "auto")
    }
    if not wrong:
        return None
    named = "; ".join(f"{setting}: {place}" for setting, place in wrong.items())
    return (
        f"the steps on the cluster cannot read {named}. Put it on the volume llmclf-cache and "
        f"write {CACHE}/…, or give a hub id; for a directory that is part of the image or "
        "mounted otherwise, add --mounted DIRECTORY"
    )


def versions(recipe: Recipe, mounted: Sequence[str] = ()) -> dict[str, str]:
    """The pipeline's version arguments: of files that are the cluster's and visible here too (in a
    notebook on the same volume); empty for all others."""
    data = list(_data(recipe).values())
    return {
        "source_version": _version(data, mounted),
        "base_version": _version([recipe.base.source], mounted),
        "encoder_version": _version([recipe.encoder.base.source], mounted),
    }


def is_pinned(recipe: Recipe, known: dict[str, str]) -> bool:
    """Whether changed data would be noticed: by its files' version, or by a hub revision."""
    return bool(known["source_version"] or recipe.ingest.revision)


def _data(recipe: Recipe) -> dict[str, str]:
    source = recipe.ingest.source
    if isinstance(source, str):
        return {"ingest.source": source}
    return {f"ingest.source.{split}": place for split, place in source.items()}


def _models(recipe: Recipe) -> dict[str, str]:
    models = {}
    if _LLM & set(recipe.approaches):
        models["base.source"] = recipe.base.source
    if "encoder" in recipe.approaches:
        models["encoder.base.source"] = recipe.encoder.base.source
    return models


def _there(place: str, mounted: Sequence[str], format: str) -> bool:
    if format == "hub":  # taken as it is, whatever it looks like
        return bool(HUB_ID.match(place)) or (place.startswith("/") and _below(place, mounted))
    path = place.replace("${LLMCLF_CACHE}", CACHE).replace("$LLMCLF_CACHE", CACHE)
    if path.startswith("/"):
        return "$" not in path and _below(path, mounted)
    return format == "auto" and is_hub_id(place) and not place.endswith(".gguf")


def _below(path: str, mounted: Sequence[str]) -> bool:
    plain = PurePosixPath(os.path.normpath(path))
    return any(plain.is_relative_to(os.path.normpath(root)) for root in (CACHE, *mounted))


def _version(places: Sequence[str], mounted: Sequence[str]) -> str:
    paths: list[Path] = [expand(place) for place in places]
    if all(_below(str(path), mounted) and path.exists() for path in paths):
        return files_version(places)
    return ""
