"""The command line: run, predict, compile, replay."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from llmclf_core import __version__
from llmclf_core.errors import UserError, exit_on_user_error
from llmclf_core.steps.process import set_up_logging

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune, evaluate and register LLM text classifiers on your own data.",
    epilog="Start with `llmclf run recipe.yaml`; commented recipes are in pipelines/recipes/. "
    "MLFLOW_TRACKING_URI names your MLflow server, HF_TOKEN your model hub token, and "
    "LLMCLF_CACHE the directory for models and checkpoints.",
)

Runs = Annotated[Path, typer.Option(help="Directory of runs, step cache and embedded MLflow.")]


class ApproachName(StrEnum):
    """Choices of ``--approach``."""

    tfidf = "tfidf"
    probe = "probe"
    encoder = "encoder"
    head = "head"
    instruct = "instruct"


class Quantization(StrEnum):
    """Choices of ``--quantization``."""

    none = "none"
    nf4 = "nf4"


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit status 2."""
    with exit_on_user_error():
        app()


def _version(value: bool) -> None:
    if value:
        print(f"llmclf {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    set_up_logging()


@app.command()
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
    approach: Annotated[
        list[ApproachName] | None, typer.Option(help="What to compare; repeat for several.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Training seed; repeat for several.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: training.patience=3.")
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Run the whole pipeline on this machine: compare approaches, register the best classifier.

    Finished steps are reused; a run that was killed goes on where it stopped. An approach that
    fails is named at the end and the exit status is 1; the others are compared all the same.
    """
    from llmclf_core.config import load_recipe, parse_recipe
    from pipelines.local import run as run_locally
    from pipelines.show import show

    columns = _label_overrides(label)
    given = {
        "name": name, "ingest.source": data, "ingest.text": text or None, "base.source": base,
        "base.quantization": quantization and quantization.value, "training.epochs": epochs,
        "tokenize.max_length": max_length, "seeds": seed or None,
        "approaches": [a.value for a in approach or []] or None,
    }  # fmt: skip
    overrides = {k: v for k, v in given.items() if v is not None} | columns | _parsed(settings)
    if recipe is None and data is None:
        raise UserError("give a recipe (llmclf run my.yaml) or your data (llmclf run --data …)")
    if recipe is None:
        overrides = {"name": _name_of(str(data)), "base.source": "Qwen/Qwen3-0.6B"} | overrides
        loaded = parse_recipe({}, overrides, "flags")
    else:
        loaded = load_recipe(recipe, overrides)
    finished = run_locally(loaded, runs)
    show(finished, runs)
    if finished.summary["missing"]:
        raise typer.Exit(1)  # the comparison stands, but not with all that was asked for


def _label_overrides(label: list[str] | None) -> dict[str, Any]:
    if not label:
        return {}
    several = len(label) > 1
    more = {"ingest.labels.layout": "indicators", "ingest.labels.task": "multi"} if several else {}
    return {"ingest.labels.columns": label} | more


def _parsed(settings: list[str] | None) -> dict[str, Any]:
    parsed = {}
    for item in settings or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item}: write it as section.setting=value")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed[key] = value  # a lone sign, such as a delimiter
    return parsed


def _name_of(data: str) -> str:
    stem = Path(data).stem
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in stem).strip("._-") or "task"


@app.command()
def predict(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to classify.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Directory, or models:/NAME@champion. Default: the latest run's."),
    ] = None,
    input: Annotated[Path | None, typer.Option(help="CSV, TSV, JSONL or Parquet file.")] = None,
    output: Annotated[Path | None, typer.Option(help="Parquet file to write.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text column; repeat to join.")] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Column with row ids.")] = None,
    base: Annotated[str | None, typer.Option(help="Where the base model lies now.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts in a forward pass.")] = 16,
    runs: Runs = Path("runs"),
) -> None:
    """Classify texts given here, or the rows of a file."""
    from llmclf_core.inference import predict_file
    from pipelines.latest import open_classifier
    from pipelines.show import show_predictions

    if bool(texts) == (input is not None) or (input is None) != (output is None):
        raise UserError("give either texts, or --input together with --output")
    classifier = open_classifier(model, runs, base)
    if texts:
        show_predictions(texts, classifier, classifier.predict_proba(texts, batch_size))
    elif input is not None and output is not None:
        rows = predict_file(classifier, input, output, text or ["text"], id_column, batch_size)
        print(f"{rows} rows classified, written to {output}")


@app.command(name="compile")
def compile_pipeline(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe whose values become defaults.")
    ] = None,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("llmclf.yaml"),
    image: Annotated[str | None, typer.Option(help="Image of all components.")] = None,
) -> None:
    """Compile the pipeline to YAML for Kubeflow Pipelines."""
    from llmclf_core.config import load_recipe
    from pipelines.compile import compile_to

    compile_to(output, load_recipe(recipe) if recipe else None, image)
    print(f"compiled to {output}")


@app.command()
def replay(
    journal: Annotated[Path, typer.Argument(help="tracking.jsonl of a classifier or evaluation.")],
) -> None:
    """Send what was logged while MLflow could not be reached. May be repeated."""
    from llmclf_core.registry.tracking import replay as send

    if not send(journal):
        raise UserError(f"MLflow could not be reached; {journal} still holds everything")
    print("MLflow has everything now")


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="smollm2, minilm, bbc, orange, debian-tags.")],
) -> None:
    """Fetch the models and corpora of the shipped recipes into the cache."""
    from pipelines.assets import NAMES
    from pipelines.assets import fetch as fetch_asset

    for name in names:
        if name not in NAMES:
            raise UserError(f"no asset {name}; there are {', '.join(NAMES)}")
        print(fetch_asset(name))


if __name__ == "__main__":
    main()
