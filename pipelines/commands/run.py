"""``llmclf run``: the whole pipeline on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from llmclf_core.errors import UserError
from pipelines.commands.options import Approaches, Runs, Seeds, Settings, overrides


class Quantization(StrEnum):
    """Choices of ``--quantization``."""

    none = "none"
    nf4 = "nf4"


class Runner(StrEnum):
    """Choices of ``--runner``."""

    subprocess = "subprocess"
    docker = "docker"


def run(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe (YAML). Or give --data.")] = None,
    name: Annotated[str | None, typer.Option(help="The task; names the registered model.")] = None,
    data: Annotated[str | None, typer.Option(help="File, directory or hub dataset id.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text column; repeat to join.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Label column, or 0/1 columns.")] = None,
    base: Annotated[str | None, typer.Option(help="Hub id, directory or GGUF file.")] = None,
    quantization: Annotated[Quantization | None, typer.Option(help="Of the base.")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes of the LLM over the training rows, unless instruct has its own."),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(help="Tokens that the LLM reads of a text, unless instruct has its own."),
    ] = None,
    approach: Approaches = None,
    seed: Seeds = None,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    runner: Annotated[
        Runner, typer.Option(help="Steps as processes of this machine, or in containers.")
    ] = Runner.subprocess,
) -> None:
    """Run the whole pipeline on this machine: compare approaches, register the best classifier.

    Finished steps are reused; a run that was killed goes on where it stopped. An approach that
    fails is named at the end and the exit status is 1; the others are compared all the same.
    """
    from llmclf_core.config import load_recipe, parse_recipe
    from pipelines.local import run as run_locally
    from pipelines.show import show

    given = {
        "name": name, "ingest.source": data, "ingest.text": text or None, "base.source": base,
        "base.quantization": quantization and quantization.value, "training.epochs": epochs,
        "tokenize.max_length": max_length,
    }  # fmt: skip
    changes = {k: v for k, v in given.items() if v is not None} | _label_overrides(label)
    changes |= overrides(approach, seed, settings)
    if recipe is None and data is None:
        raise UserError("give a recipe (llmclf run my.yaml) or your data (llmclf run --data …)")
    if recipe is None:
        changes = {"name": _name_of(str(data)), "base.source": "Qwen/Qwen3-0.6B"} | changes
        loaded = parse_recipe({}, changes, "flags")
    else:
        loaded = load_recipe(recipe, changes)
    finished = run_locally(loaded, runs, runner == Runner.docker)
    show(finished, runs)
    if finished.summary["missing"]:
        raise typer.Exit(1)  # the comparison stands, but not with all that was asked for


def _label_overrides(label: list[str] | None) -> dict[str, Any]:
    if not label:
        return {}
    several = len(label) > 1
    more = {"ingest.labels.layout": "indicators", "ingest.labels.task": "multi"} if several else {}
    return {"ingest.labels.columns": label} | more


def _name_of(data: str) -> str:
    stem = Path(data).stem
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in stem).strip("._-") or "task"
