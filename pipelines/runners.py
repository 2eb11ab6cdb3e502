"""What the steps of a local run run in: processes of this machine, or containers of the image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kfp import local

import llmclf_core
from components import IMAGE
from llmclf_core.config import Recipe
from llmclf_core.errors import UserError
from llmclf_core.paths import cache_dir, expand, file_sha256, fingerprint
from pipelines.containers import docker_client, docker_runner, ended_with

_FILE_STORES = ("sqlite:", "file:", "/", ".")
"""How the URI of a store on this machine's disk begins."""


def code_version(in_containers: bool) -> str:
    """Changes when the steps' code does: that of the image, or of the library here.

    KFP's cache sees the thin components only; what they call may have changed all the same.

    Raises:
        UserError: when the steps cannot be run this way here.
    """
    if in_containers:
        with closing(docker_client(IMAGE)) as client:
            return fingerprint(client.images.get(IMAGE).id)
    root = Path(llmclf_core.__file__).parent
    return fingerprint([file_sha256(file) for file in sorted(root.rglob("*.py"))])


@contextmanager
def open_runner(
    in_containers: bool, recipe: Recipe, runs: Path, directory: Path
) -> Iterator[local.SubprocessRunner | local.DockerRunner]:
    """What KFP is told to run the steps in. Enter it in the environment that the steps get.

    Args:
        in_containers: or in processes of this machine.
        recipe: its sources are what containers can read.
        runs: directory of runs.
        directory: of this run.

    Raises:
        UserError: when the steps cannot be run this way here.
    """
    if not in_containers:
        yield local.SubprocessRunner(use_venv=False)
        return
    _require_store_in(runs)
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").absolute()
    cache = cache_dir().absolute()
    places = {"LLMCLF_CACHE": str(cache), "HF_HOME": str(hub)}
    readable = [expand(source).absolute() for source in _sources(recipe)]
    with ended_with(directory):
        yield docker_runner(IMAGE, directory, [runs, cache, hub], readable, places)


def _require_store_in(runs: Path) -> None:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    place = Path("/", uri.rpartition(":")[2].lstrip("/"))
    if uri.startswith(_FILE_STORES) and not place.is_relative_to(runs):
        raise UserError(
            f"steps in containers cannot reach the MLflow store {uri}: set MLFLOW_TRACKING_URI to "
            f"a server, or leave it unset for the store in {runs}"
        )


def _sources(recipe: Recipe) -> list[str]:
    data = recipe.ingest.source
    files = list(data.values()) if isinstance(data, dict) else [data]
    return [*files, recipe.base.source, recipe.encoder.base.source]


def expanded(recipe: Recipe) -> Recipe:
    """The recipe with ``~`` and variables of this shell replaced, which containers do not have."""
    data, encoder = recipe.ingest.source, recipe.encoder
    source = {k: _expand(v) for k, v in data.items()} if isinstance(data, dict) else _expand(data)
    base = encoder.base.model_copy(update={"source": _expand(encoder.base.source)})
    return recipe.model_copy(
        update={
            "ingest": recipe.ingest.model_copy(update={"source": source}),
            "base": recipe.base.model_copy(update={"source": _expand(recipe.base.source)}),
            "encoder": encoder.model_copy(update={"base": base}),
        }
    )


def _expand(source: str) -> str:
    known = source.startswith("${LLMCLF_CACHE}")  # containers have this one
    return source if known or not set("~$") & set(source) else str(expand(source))
