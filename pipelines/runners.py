"""What the steps of a local run run in: processes of this machine, or containers of the image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfp import local
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

import llmclf_core
from components import IMAGE
from llmclf_core.config import Recipe
from llmclf_core.errors import UserError
from llmclf_core.paths import expand, file_sha256, fingerprint
from pipelines.containers import docker_runner, ended_with
from pipelines.daemon import StepsImage, choose_image
from pipelines.mounts import require_mountable
from pipelines.passed_on import caches, files
from pipelines.stopping import processes_end_too


def steps_image(runs: Path) -> StepsImage:
    """The image that steps in containers run in.

    Raises:
        UserError: when steps cannot be run in containers here.
    """
    require_mountable(runs)
    return choose_image(IMAGE)


def code_version(image: StepsImage | None) -> str:
    """Changes when the steps' code does: that of the image, or without one of the library here.

    KFP's cache sees the thin components only; what they call may have changed all the same.
    """
    if image is not None:
        return fingerprint(image.id)
    root = Path(llmclf_core.__file__).parent
    return fingerprint([file_sha256(file) for file in sorted(root.rglob("*.py"))])


@contextmanager
def open_runner(
    image: StepsImage | None, recipe: Recipe, runs: Path, directory: Path
) -> Iterator[local.SubprocessRunner | local.DockerRunner]:
    """What KFP is told to run the steps in. Enter it in the environment that the steps get.

    Args:
        image: of the steps' containers; None: they are processes of this machine.
        recipe: its sources are what containers can read.
        runs: directory of runs.
        directory: of this run.

    Raises:
        UserError: when the steps cannot be run this way here.
    """
    if image is None:
        with processes_end_too():
            yield local.SubprocessRunner(use_venv=False)
        return
    _require_store_in(runs)
    written, read = caches(), files()
    sources = [expand(source).absolute() for source in _sources(recipe)]
    places = {name: str(place) for name, place in (written | read).items()}
    writable = list(dict.fromkeys([runs, *written.values()]))
    with ended_with(directory):
        yield docker_runner(image.name, directory, writable, [*sources, *read.values()], places)


def _require_store_in(runs: Path) -> None:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    place = _disk_place(uri)
    if place is not None and not place.is_relative_to(os.path.normpath(runs)):
        raise UserError(
            f"steps in containers cannot reach the MLflow store {uri}: set MLFLOW_TRACKING_URI to "
            f"a server, or leave it unset for the store in {runs}"
        )


def _disk_place(uri: str) -> Path | None:
    """Where a store on this machine's disk lies; None for one that is reached by a network."""
    if uri.startswith("sqlite"):
        place = uri.partition(":///")[2].partition("?")[0]
    elif is_local_uri(uri):
        place = local_file_uri_to_path(uri)
    else:
        return None
    return Path(os.path.normpath(Path.cwd() / place))


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
