"""`llmclf submit` against a stand-in of Kubeflow's API on loopback; no Kubeflow was run."""

import re

from llmclf_core.config import APPROACHES
from tests.pipelines.kfp_stand_in import Refused
from tests.pipelines.spec_checks import check_pipeline
from tests.pipelines.submit.helpers import only, refused, submit, submitted

# The run


def test_the_run_carries_the_recipe_and_its_link_is_printed(task, kubeflow):
    task.recipe["approaches"] = list(APPROACHES)
    task.write()
    done = submitted(task, kubeflow, "--seed", "7", "--set", "training.epochs=5")
    run = only(kubeflow.runs.values())
    parameters = run["runtime_config"]["parameters"]
    assert parameters["name"] == "tiny"
    assert parameters["seeds"] == [7]
    assert parameters["training"]["epochs"] == 5
    assert parameters["ingest"]["source"] == "acme/reviews"
    assert parameters["source_version"] == ""
    spec = check_pipeline(run)
    steps = {e.removeprefix("exec-") for e in spec.deployment_spec["executors"]}
    assert {"ingest", "finetune-head", "finetune-instruct", "finetune-encoder"} <= steps
    assert f"run: {run['display_name']} ({run['run_id']})" in done.stdout
    assert f"link: {kubeflow.url}/#/runs/details/{run['run_id']}" in done.stdout
    assert run["display_name"].startswith("tiny 20")
    assert not (task.root / "context.json").exists()


def test_the_recipe_may_be_an_option_and_its_approaches_are_the_shape(task, kubeflow):
    arguments = ["submit", "--recipe", "recipe.yaml", "--approach", "probe"]
    done = task.llmclf(*arguments, "--host", kubeflow.url, "--run-name", "mine")
    assert done.returncode == 0, done.stderr
    run = only(kubeflow.runs.values())
    assert run["display_name"] == "mine"
    executors = check_pipeline(run).deployment_spec["executors"]
    assert "exec-fit-probe" in executors
    assert "exec-fit-tfidf" not in executors


def test_all_steps_run_in_the_image_that_is_named(task, kubeflow):
    image = "registry.example/llmclf@sha256:" + "0" * 64
    submitted(task, kubeflow, "--image", image, "--service-account", "runner")
    run = only(kubeflow.runs.values())
    executors = check_pipeline(run).deployment_spec["executors"]
    assert {executors[name]["container"]["image"] for name in executors} == {image}
    assert "kubernetes" in run["pipeline_spec"]["platform_spec"]["platforms"]
    assert run["service_account"] == "runner"


def test_the_experiment_is_made_once(task, kubeflow):
    submitted(task, kubeflow)
    submitted(task, kubeflow)
    submitted(task, kubeflow, "--experiment", "other")
    assert [e["display_name"] for e in kubeflow.experiments] == ["tiny", "other"]
    first, second, third = (run["experiment_id"] for run in kubeflow.runs.values())
    assert first == second != third


def test_an_archived_experiment_is_refused(task, kubeflow):
    submitted(task, kubeflow)
    kubeflow.experiments[0]["storage_state"] = "ARCHIVED"
    assert "the experiment tiny is archived" in refused(task, kubeflow)


def cached(run):
    spec = check_pipeline(run)
    dags = [spec.root.dag, *(component.dag for component in spec.components.values())]
    return {n for d in dags for n, t in d.tasks.items() if t.caching_options.enable_cache}


def test_data_are_read_again_without_cache(task, kubeflow):
    reuse = ("--set", "cluster.cache_ingest=true")
    submitted(task, kubeflow, *reuse)
    done = submitted(task, kubeflow, *reuse, "--set", "ingest.revision=null")
    again = submitted(task, kubeflow, *reuse, "--no-cache", "--set", "ingest.revision=null")
    first, second, third = kubeflow.runs.values()
    assert cached(first) == cached(second) == {"ingest"}
    assert cached(third) == set()
    assert "if it changed since the last run, use --no-cache" in done.stderr
    assert "--no-cache" not in again.stderr


# Schedules


def test_a_schedule_is_a_recurring_run_that_reuses_nothing(task, kubeflow):
    reuse = ("--set", "cluster.cache_ingest=true")
    done = submitted(task, kubeflow, *reuse, "--schedule", "0 3 * * 1")
    recurring = only(kubeflow.recurring.values())
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert recurring["display_name"] == "tiny"
    assert recurring["no_catchup"] is True
    assert recurring["mode"] == "ENABLE"
    assert cached(recurring) == set()
    assert kubeflow.runs == {}
    identifier = recurring["recurring_run_id"]
    assert f"recurring run: tiny ({identifier})" in done.stdout
    assert f"/#/recurringrun/details/{identifier}" in done.stdout
    assert re.search(r"next: Mon \d{4}-\d\d-\d\d 03:00, if the cluster's .* UTC", done.stderr)


def test_a_schedule_is_not_doubled(task, kubeflow):
    schedule = ("--schedule", "0 3 * * 1")
    for name in ("a", "b", "tiny"):
        submitted(task, kubeflow, *schedule, "--run-name", name)
    before = set(kubeflow.recurring)
    message = refused(task, kubeflow, *schedule)
    assert "there is a recurring run tiny already" in message
    assert "--replace" in message
    assert set(kubeflow.recurring) == before
    submitted(task, kubeflow, "--schedule", "30 4 * * *", "--replace")
    crons = {
        r["display_name"]: r["trigger"]["cron_schedule"]["cron"]
        for r in kubeflow.recurring.values()
    }
    assert len(kubeflow.recurring) == 3
    assert crons == {"a": "0 0 3 * * 1", "b": "0 0 3 * * 1", "tiny": "0 30 4 * * *"}


def test_a_schedule_that_cannot_be_put_in_place_leaves_the_former_one(task, kubeflow, monkeypatch):
    from pipelines import submit as module

    submitted(task, kubeflow, "--schedule", "0 3 * * 1")
    monkeypatch.setattr(module, "to_kubeflow", lambda cron: "nonsense")
    refused(task, kubeflow, "--schedule", "0 4 * * 1", "--replace")
    cron = only(kubeflow.recurring.values())["trigger"]["cron_schedule"]["cron"]
    assert cron == "0 0 3 * * 1"


def test_a_former_schedule_that_cannot_be_deleted_is_named(task, kubeflow, monkeypatch):
    def keep(identifier):
        raise Refused(403, "no")

    submitted(task, kubeflow, "--schedule", "0 3 * * 1")
    former = only(kubeflow.recurring)
    monkeypatch.setattr(kubeflow, "_delete_recurringruns_one", keep, raising=False)
    done = submit(task, kubeflow, "--schedule", "0 4 * * 1", "--replace")
    assert done.returncode == 3
    assert f"stands beside the former one, {former}" in done.stderr
    assert len(kubeflow.recurring) == 2
