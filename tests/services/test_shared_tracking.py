"""Two pipelines at once against one shared MLflow: nothing mixes, and no secret is left behind."""

import base64
import secrets
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from llmclf_core.approaches import load_classifier
from tests.pipelines.conftest import Task
from tests.services.conftest import WORKER
from tests.services.pipelines import finish, make_task, objects, start, stop

pytestmark = pytest.mark.timeout(1200)
NAME = "shared"
TEXT = "match goal team player"


class Both(NamedTuple):
    """Two finished runs, by approach, and secrets that were in their environment."""

    tasks: dict[str, Task]
    summaries: dict[str, dict]
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def both(stack, worker, tmp_path_factory):
    root = tmp_path_factory.mktemp("both")
    marker = {name: f"hf_{secrets.token_hex(16)}" for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY")}
    password = worker["MLFLOW_TRACKING_PASSWORD"]
    # One of them has its password in the URI, where it is most easily lost.
    uri = worker["MLFLOW_TRACKING_URI"].replace("://", f"://{WORKER}:{password}@")
    environments = {"tfidf": {"MLFLOW_TRACKING_URI": uri}, "head": worker}
    tasks = {name: make_task(root / name, NAME, name) for name in environments}
    processes = {name: start(tasks[name], marker | environments[name]) for name in tasks}
    try:
        summaries = {name: finish(tasks[name], processes[name]) for name in tasks}
    finally:
        for process in processes.values():
            stop(process)
    marker["MLFLOW_TRACKING_PASSWORD"] = password
    marker["basic"] = base64.b64encode(f"{WORKER}:{password}".encode()).decode()
    return Both(tasks, summaries, marker)


def tags_of(stack, run):
    return dict(stack.sql("SELECT key, value FROM tags WHERE run_uuid = %s", run))


def rows_of_runs(stack):
    """Tags by run id, of the runs of both."""
    query = """SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id)
               WHERE experiments.name = %s AND runs.lifecycle_stage = 'active'"""
    return {run: tags_of(stack, run) | {"status": s} for run, s in stack.sql(query, NAME)}


def nested_of(stack, approach):
    rows = rows_of_runs(stack)
    (run,) = [r for r, tags in rows.items() if tags.get("llmclf.approach") == approach]
    return run, rows[run]


def test_each_execution_has_one_parent_and_its_own_nested_run(stack, both):
    rows = rows_of_runs(stack)
    assert len(rows) == 4
    assert {tags["status"] for tags in rows.values()} == {"FINISHED"}
    for approach, summary in both.summaries.items():
        parents = [r for r, t in rows.items() if t.get("llmclf.pipeline_run") == summary["run"]]
        children = [r for r, t in rows.items() if t.get("llmclf.execution") == summary["run"]]
        assert len(parents) == len(children) == 1
        nested = rows[children[0]]
        assert nested["mlflow.parentRunId"] == parents[0]
        assert nested["llmclf.approach"] == approach


def test_parameters_are_those_of_the_approach(stack, both):
    query = "SELECT key, value FROM params WHERE run_uuid = %s"
    head, tfidf = (dict(stack.sql(query, nested_of(stack, a)[0])) for a in ("head", "tfidf"))
    assert head["lora.rank"] == "4"
    assert not [key for key in tfidf if key.startswith(("lora.", "training."))]


def test_every_point_of_a_metric_is_there_once(stack, both):
    twice = """SELECT run_uuid, key, step, count(*) FROM metrics
               GROUP BY run_uuid, key, step HAVING count(*) > 1"""
    assert stack.sql(twice) == []
    latest = "SELECT value FROM latest_metrics WHERE run_uuid = %s AND key = 'test_macro_f1'"
    for approach, summary in both.summaries.items():
        run, tags = nested_of(stack, approach)
        for each in (run, tags["mlflow.parentRunId"]):
            assert stack.sql(latest, each) == [(pytest.approx(summary["metrics"]["macro_f1"]),)]
    run, _ = nested_of(stack, "head")
    losses = stack.sql(
        "SELECT step FROM metrics WHERE run_uuid = %s AND key = 'train_loss' ORDER BY step", run
    )
    assert [step for (step,) in losses] == list(range(1, len(losses) + 1))
    assert losses


def test_registry_has_a_version_of_each_and_a_champion(stack, both):
    query = "SELECT version, run_id FROM model_versions WHERE name = %s"
    versions = {run: str(version) for version, run in stack.sql(query, NAME)}
    assert len(versions) == 2
    for approach, summary in both.summaries.items():
        assert versions[nested_of(stack, approach)[0]] == summary["registration"]["version"]
    query = "SELECT alias, version FROM registered_model_aliases WHERE name = %s"
    aliases = dict(stack.sql(query, NAME))
    assert aliases.keys() == {"champion", "challenger"}
    # The last to register was judged against the first, and knew of it.
    assert str(aliases["challenger"]) == "2"


def test_objects_in_s3_are_the_files_of_the_run(stack, both):
    stored = objects(stack)
    for summary in both.summaries.values():
        local = Path(summary["artifacts"]["champion"])
        files = [f for f in local.rglob("*") if f.is_file() and f.name != "tracking.jsonl"]
        assert files
        for file in files:
            end = f"/artifacts/classifier/{file.relative_to(local)}"
            copies = [body for key, body in stored.items() if key.endswith(end)]
            assert file.read_bytes() in copies, file
    query = """SELECT artifact_uri FROM runs JOIN experiments USING (experiment_id)
               WHERE experiments.name = %s"""
    assert all(uri.startswith("mlflow-artifacts:/") for (uri,) in stack.sql(query, NAME))


def test_champion_is_fetched_without_any_key_of_s3(both, worker, tmp_path):
    task = both.tasks["tfidf"]
    done = task.llmclf("predict", "--model", f"models:/{NAME}@champion", TEXT, **worker)
    assert done.returncode == 0, done.stderr
    (champion,) = [
        s for s in both.summaries.values() if "champion" in s["registration"]["aliases"]
    ][-1:]
    classifier = load_classifier(Path(champion["artifacts"]["champion"]))
    best = np.max(classifier.predict_proba([TEXT]))
    assert done.stdout.startswith(classifier.predict([TEXT])[0][0] + "\t")
    assert f"{best:.4f}" in done.stdout


def test_files_go_through_the_server(stack, both, worker):
    """Clients need not reach S3; MLflow's own default is to send them there."""
    task = both.tasks["tfidf"]
    done = task.llmclf("predict", "--model", f"models:/{NAME}@challenger", TEXT, **worker)
    assert done.returncode == 0, done.stderr
    log = (stack.logs / "mlflow.log").read_text()
    assert "GET /api/2.0/mlflow-artifacts/artifacts" in log
    assert "presigned" not in log


def test_no_secret_is_found_anywhere(stack, both, worker, tmp_path):
    names = {"LLMCLF_MLFLOW_USERNAME", "LLMCLF_S3_ACCESS_KEY"}  # say who, and prove nothing
    known = {k: v for k, v in stack.secrets.items() if k not in names} | both.secrets
    done = both.tasks["head"].llmclf(
        "compile", "recipe.yaml", "--output", str(tmp_path / "pipeline.yaml"), **worker | known
    )
    assert done.returncode == 0, done.stderr
    stack.local("pg_dump", "-U", "mlflow", "-d", "mlflow", "-f", str(tmp_path / "database.sql"))
    places = [tmp_path, stack.logs, *(task.root for task in both.tasks.values())]
    texts = {str(f): f.read_bytes() for place in places for f in place.rglob("*") if f.is_file()}
    texts |= {f"s3://{key}": body for key, body in objects(stack).items()}
    texts |= {
        f"pid {pid}": Path(f"/proc/{process.pid}/cmdline").read_bytes()
        for pid, process in stack.running.items()
    }
    assert b"llmclf.pipeline_run" in texts[str(tmp_path / "database.sql")]  # the search finds
    found = {(n, p) for n, v in known.items() for p, body in texts.items() if v.encode() in body}
    assert found == set()
