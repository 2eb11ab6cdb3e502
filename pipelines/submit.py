"""Submit the pipeline to Kubeflow Pipelines: once, or on a schedule."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from llmclf_core.config import Recipe
from llmclf_core.errors import UserError
from pipelines.compile import compile_to
from pipelines.kubeflow.connect import Client, Server, connect
from pipelines.kubeflow.errors import Started, WebPage, explain
from pipelines.kubeflow.schedule import next_time, to_kubeflow
from pipelines.kubeflow.sources import check_places, is_pinned, versions
from pipelines.pipeline import arguments

log = logging.getLogger(__name__)

_WHOLE_LISTS = (2, 14)
"""Kubeflow's release from which ``dsl.Collected`` brings every artifact into a step."""


@dataclass(frozen=True)
class Order:
    """What is to be submitted.

    Attributes:
        recipe: its approaches are the pipeline's shape, its sections the arguments.
        name: of the run. Unset: task and time; of a recurring run: the task.
        experiment: Kubeflow's. Unset: as MLflow's.
        image: of all steps. Unset: the default one.
        gpu_image: instead, of the steps with a GPU.
        cache: whether the data need not be read again, where the recipe says so.
        mounted: directories that the steps have beside ``/cache``.
        service_account: that the steps run as. Unset: the cluster's default.
        schedule: cron, five fields; None: run once, now.
        replace: put a recurring run in the place of one of the same name.
    """

    recipe: Recipe
    name: str | None = None
    experiment: str | None = None
    image: str | None = None
    gpu_image: str | None = None
    cache: bool = True
    mounted: tuple[str, ...] = ()
    service_account: str | None = None
    schedule: str | None = None
    replace: bool = False

    @property
    def reuses(self) -> bool:
        """Whether the data may be those of an earlier run. A schedule is for new ones."""
        return self.recipe.cluster.cache_ingest and self.cache and not self.schedule


@dataclass(frozen=True)
class Submitted:
    """What the server made of it.

    Attributes:
        client: connected, for whoever waits.
        identifier: of the run, or of the recurring run.
        name: shown in Kubeflow.
        link: to its page.
        titles: of the steps, by their names in the pipeline.
    """

    client: Client
    identifier: str
    name: str
    link: str
    titles: dict[str, str]


def submit(order: Order, to: Server) -> Submitted:
    """Check the order, compile, and start a run or a recurring run.

    Raises:
        UserError: for data that only this machine has, a bad schedule, or a server that cannot be
            used.
        Started: for a former recurring run that could not be deleted.
    """
    cron = to_kubeflow(order.schedule) if order.schedule else None
    check_places(order.recipe, order.mounted)
    _warn(order.recipe)
    log.info("connecting to %s", to.host)
    client = connect(to)
    _warn_of_lists(order.recipe, client.release)
    with _package(order) as package, explain(to.host, namespace=client.get_user_namespace()):
        experiment = _experiment(client, order)
        log.info("submitting")
        if cron:
            return _recur(client, to, order, experiment, package, cron)
        return _run(client, to, order, experiment, package)


def _warn(recipe: Recipe) -> None:
    if recipe.tracking.uri:
        log.warning("tracking.uri is for local runs; the cluster's MLflow is used")


def _warn_of_lists(recipe: Recipe, release: tuple[int, int] | None) -> None:
    """An older Kubeflow hands on the first artifact of a list alone."""
    several = len(recipe.seeds) > 1 and {"encoder", "head", "instruct"} & {*recipe.approaches}
    if several and release and release < _WHOLE_LISTS:
        log.warning(
            "this is Kubeflow Pipelines %d.%d, and before %d.%d not all seeds reach the comparison:"
            " upgrade it, or submit with one --seed", *release, *_WHOLE_LISTS,
        )  # fmt: skip


@contextmanager
def _package(order: Order) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "pipeline.yaml"
        log.info("compiling")
        cluster = order.recipe.cluster
        if not order.reuses:
            cluster = cluster.model_copy(update={"cache_ingest": False})
        compile_to(package, order.recipe, order.image, order.gpu_image, cluster)
        yield package


def _titles(package: Path) -> dict[str, str]:
    """The steps' titles by their names, which are unique in the whole pipeline."""
    pipeline = next(yaml.safe_load_all(package.read_text("utf-8")))
    dags = [c.get("dag", {}) for c in (pipeline["root"], *pipeline["components"].values())]
    return {
        name: task["taskInfo"]["name"]
        for dag in dags
        for name, task in dag.get("tasks", {}).items()
    }


def _experiment(client: Client, order: Order) -> str:
    recipe = order.recipe
    name = order.experiment or recipe.tracking.experiment or recipe.name
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # KFP prints a link of its own
            found = client.create_experiment(name)
    except ValueError as error:
        raise UserError(f"{error} Name another one with --experiment") from None
    if found.storage_state == "ARCHIVED":
        raise UserError(
            f"the experiment {name} is archived; restore it in Kubeflow, or name another one with "
            "--experiment"
        )
    return str(found.experiment_id)


def _job(order: Order, experiment: str, package: Path, name: str) -> dict[str, Any]:
    known = versions(order.recipe, order.mounted)
    if order.reuses and not is_pinned(order.recipe, known):
        log.warning(
            "cluster.cache_ingest is on and the data cannot be seen from here: if it changed since "
            "the last run, use --no-cache"
        )
    return {
        "experiment_id": experiment,
        "job_name": name,
        "pipeline_package_path": str(package),
        "params": arguments(order.recipe, **known),
        "service_account": order.service_account,
    }


def _run(client: Client, to: Server, order: Order, experiment: str, package: Path) -> Submitted:
    name = order.name or f"{order.recipe.name} {datetime.now():%Y-%m-%d %H-%M-%S}"
    with contextlib.redirect_stdout(io.StringIO()):
        run = client.run_pipeline(**_job(order, experiment, package, name))
    return Submitted(client, run.run_id, name, to.link("runs", run.run_id), _titles(package))


def _recur(
    client: Client, to: Server, order: Order, experiment: str, package: Path, cron: str
) -> Submitted:
    name = order.name or order.recipe.name
    former = _recurring(client, experiment, name)
    if former and not order.replace:
        raise UserError(
            f"there is a recurring run {name} already ({former[0].recurring_run_id}); put the new "
            "one in its place with --replace, or name another with --run-name"
        )
    job = _job(order, experiment, package, name)
    made = client.create_recurring_run(
        **job, cron_expression=cron, no_catchup=True, max_concurrency=1
    )
    _delete(client, former, made.recurring_run_id)
    log.info("next: %s, if the cluster's scheduler runs on UTC", next_time(str(order.schedule)))
    identifier = made.recurring_run_id
    link = to.link("recurringrun", identifier)
    return Submitted(client, identifier, name, link, _titles(package))


def _delete(client: Client, former: list[Any], new: str) -> None:
    for old in former:
        try:
            client.delete_recurring_run(old.recurring_run_id)
        except (ApiException, HTTPError, WebPage):
            raise Started(
                f"the recurring run {new} stands beside the former one, {old.recurring_run_id}, "
                "which could not be deleted; delete that one in Kubeflow"
            ) from None


def _recurring(client: Client, experiment: str, name: str) -> list[Any]:
    """Recurring runs of that name in the experiment."""
    named = [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]
    found, page = [], ""
    while True:
        answer = client.list_recurring_runs(
            page, 100, experiment_id=experiment, filter=json.dumps({"predicates": named})
        )
        found += [r for r in answer.recurring_runs or [] if r.display_name == name]
        page = answer.next_page_token or ""
        if not page:
            return found
