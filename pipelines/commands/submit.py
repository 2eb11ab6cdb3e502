"""``llmclf submit``: the pipeline on a Kubeflow cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmclf_core.errors import UserError
from pipelines.commands.options import (
    Approaches,
    GpuImage,
    Image,
    Mounted,
    Seeds,
    Settings,
    overrides,
)

if TYPE_CHECKING:
    from pipelines.kubeflow.connect import Server
    from pipelines.submit import Submitted

EXIT_STARTED = 3
"""Something went wrong when the run had been started; whoever submits again has two."""


def submit(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe (YAML).")] = None,
    recipe_option: Annotated[Path | None, typer.Option("--recipe", help="The same.")] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Kubeflow Pipelines; behind Kubeflow's dashboard https://…/pipeline. Or "
            "KF_PIPELINES_ENDPOINT."
        ),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Your profile's, on a Kubeflow of several users.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a bearer token. Or LLMCLF_KFP_TOKEN.")
    ] = None,
    in_cluster: Annotated[
        bool, typer.Option("--in-cluster", help="Use the service account token of this pod.")
    ] = False,
    cookie_file: Annotated[
        Path | None, typer.Option(help="File with a session cookie. Or LLMCLF_KFP_COOKIE.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the server's authority.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Kubeflow's; made if absent.")] = None,
    run_name: Annotated[str | None, typer.Option(help="Shown in Kubeflow.")] = None,
    image: Image = None,
    gpu_image: GpuImage = None,
    service_account: Annotated[str | None, typer.Option(help="That the steps run as.")] = None,
    mounted: Mounted = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Read the data again, even with cluster.cache_ingest."),
    ] = False,
    schedule: Annotated[
        str | None,
        typer.Option(help='Cron, "0 3 * * 1"; in the time zone of Kubeflow\'s scheduler, UTC.'),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of a recurring run of that name.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Show how the steps fare; exit with 1 when one fails, with 3 when the end cannot "
            "be seen.",
        ),
    ] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Minutes to wait at most.")] = None,
    approach: Approaches = None,
    seed: Seeds = None,
    settings: Settings = None,
) -> None:
    """Run the pipeline on a Kubeflow cluster, now or on a schedule.

    Tokens and cookies come from files or the environment, never from the command line.
    """
    from llmclf_core.config import load_recipe
    from pipelines.kubeflow.connect import server
    from pipelines.kubeflow.errors import Started
    from pipelines.submit import Order
    from pipelines.submit import submit as submit_order

    if (recipe is None) == (recipe_option is None):
        raise UserError("give one recipe: llmclf submit my.yaml")
    _fits_together(schedule, wait, replace, timeout)
    loaded = load_recipe(recipe or recipe_option or Path(), overrides(approach, seed, settings))
    to = server(host, namespace, in_cluster, token_file, cookie_file, ca)
    order = Order(
        loaded, run_name, experiment, image, gpu_image, not no_cache, tuple(mounted or ()),
        service_account, schedule, replace,
    )  # fmt: skip
    try:
        submitted = submit_order(order, to)
    except Started as error:
        raise _but_started(str(error)) from None
    kind = "recurring run" if schedule else "run"
    print(f"{kind}: {submitted.name} ({submitted.identifier})\nlink: {submitted.link}", flush=True)
    if wait:
        _wait(submitted, to, timeout)


def _fits_together(schedule: str | None, wait: bool, replace: bool, timeout: float | None) -> None:
    if schedule and wait:
        raise UserError("--wait does not go with --schedule: nothing runs yet")
    if replace and not schedule:
        raise UserError("--replace goes with --schedule only")
    if timeout is not None and not wait:
        raise UserError("--timeout goes with --wait only")


def _but_started(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(EXIT_STARTED)


def _wait(submitted: Submitted, to: Server, minutes: float | None) -> None:
    from pipelines.kubeflow.watch import SUCCEEDED, describe_failure, failed_steps
    from pipelines.kubeflow.watch import wait as wait_for

    try:
        run = wait_for(submitted.client, to, submitted.identifier, submitted.titles, minutes)
    except KeyboardInterrupt:
        print(f"waiting no more; the run goes on: {submitted.link}")
        raise
    except UserError as error:
        said = f"{error}\nwaiting no more; the run goes on: {submitted.link}"
        raise _but_started(said) from None
    if run.state != SUCCEEDED:
        typer.echo(f"error: {describe_failure(run, failed_steps(run, submitted.titles))}", err=True)
        raise typer.Exit(1)
    print("the run succeeded")
