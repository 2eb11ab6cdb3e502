"""Compile the pipeline to YAML."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kfp import compiler

import components
from llmclf_core import __version__
from llmclf_core.config import ClusterConfig, Recipe
from llmclf_core.errors import UserError, explain_os_errors
from pipelines.check import problems
from pipelines.pipeline import arguments, build, defaults
from pipelines.pods import Cluster

DEFAULT_GPU_IMAGE = f"llmclf:{__version__}-cuda"

_HEADER = "# Made by `llmclf compile`. Change the recipe or the components, then compile again.\n"
_COMMENTS = re.compile(r"\A(#.*\n)+")
"""KFP's own, which list the arguments' defaults in another order each time."""

_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    # A first part without a dot or a port is no host, and so has to be in small letters.
    r"(?:(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+)/)?"
    rf"{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def compile_to(
    output: Path,
    recipe: Recipe | None = None,
    image: str | None = None,
    gpu_image: str | None = None,
    cluster: ClusterConfig | None = None,
) -> None:
    """Write the pipeline as Kubeflow runs it.

    Args:
        output: YAML file to write.
        recipe: its approaches become the branches, its values the default arguments. None: all
            approaches; the task, its data and its base model are asked for when a run is started.
        image: of all steps. None: ``LLMCLF_IMAGE``, else this version's.
        gpu_image: instead, of the steps with a GPU. None: ``image``; if that is None too, the CUDA
            variant of this version's.
        cluster: instead of the recipe's section.

    Raises:
        UserError: when an image's name is wrong or the file cannot be written.
        RuntimeError: when a part of the result leads nowhere, which is a bug here.
    """
    for name in (image, gpu_image, components.IMAGE):
        _check_image(name)
    target = Cluster(
        cluster or (recipe.cluster if recipe else ClusterConfig()),
        image or components.IMAGE,
        gpu_image or image or os.environ.get("LLMCLF_IMAGE") or DEFAULT_GPU_IMAGE,
        (recipe.tracking.experiment or recipe.name) if recipe else None,
    )
    pipeline = build(recipe.approaches, cluster=target) if recipe else build(cluster=target)
    with explain_os_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = output.with_name(f".{output.stem}.draft.yaml")
        try:
            values = arguments(recipe) if recipe else defaults()
            compiler.Compiler().compile(pipeline, str(draft), pipeline_parameters=values)
            text = _HEADER + _COMMENTS.sub("", draft.read_text("utf-8"))
            if found := problems(text):
                raise RuntimeError("the compiled pipeline is broken: " + "; ".join(found))
            draft.write_text(text, "utf-8")
            os.replace(draft, output)
        finally:
            draft.unlink(missing_ok=True)


def _check_image(name: str | None) -> None:
    if name is not None and not _IMAGE.fullmatch(name):
        raise UserError(
            f"{name!r} is no name of an image; write registry/name:tag, or pin its content with "
            "registry/name@sha256:<64 hexadecimal digits>"
        )
