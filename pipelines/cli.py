"""The command line: its commands are in ``pipelines.commands``, one file each."""

from __future__ import annotations

from typing import Annotated

import typer

from llmclf_core import __version__
from llmclf_core.errors import exit_on_user_error
from llmclf_core.steps.process import set_up_logging
from pipelines.commands.compile import compile_pipeline
from pipelines.commands.fetch import fetch
from pipelines.commands.plan import plan
from pipelines.commands.predict import predict
from pipelines.commands.replay import replay
from pipelines.commands.run import run
from pipelines.commands.submit import submit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune, evaluate and register LLM text classifiers on your own data.",
    epilog="Start with `llmclf run recipe.yaml`; commented recipes are in pipelines/recipes/. "
    "MLFLOW_TRACKING_URI names your MLflow server, HF_TOKEN your model hub token, and "
    "LLMCLF_CACHE the directory for models and checkpoints.",
)


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


app.command()(run)
app.command()(plan)
app.command()(predict)
app.command()(submit)
app.command(name="compile")(compile_pipeline)
app.command()(replay)
app.command()(fetch)


if __name__ == "__main__":
    main()
