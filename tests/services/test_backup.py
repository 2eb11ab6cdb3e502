"""Backup and restore by the shipped scripts, and the upgrade of an older store."""

import stat
import subprocess

import pytest
import sqlalchemy
from alembic import command
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

from tests.mlflow_helpers import build_and_judge
from tests.pipelines.conftest import Task
from tests.services.compose_shim import shim
from tests.services.conftest import as_admin, set_environment
from tests.services.pipelines import objects
from tests.services.stack import COMPOSE_FILE

NAME = "kept"
TEXT = "a song by the band"
OLD = "0584bdc529eb"  # of MLflow 2.17 to 2.22
SCRIPTS = COMPOSE_FILE.parent / "compose"


def script(name, stack, root, *arguments):
    return subprocess.run(
        [str(SCRIPTS / name), *arguments],
        env={"PATH": "/usr/bin:/bin", "COMPOSE": shim(stack, root)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def champion(stack, worker, tmp_path_factory, tiny_base, corpus_path):
    """A classifier that is the champion in the registry."""
    directory = tmp_path_factory.mktemp("champion")
    classifier, register_as = build_and_judge(tiny_base, corpus_path, directory)
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, worker | {"MLFLOW_EXPERIMENT_NAME": NAME})
        register_as(NAME)
    return classifier


def everything(stack):
    """Rows of every table as text, without the order they lie in, and all objects."""
    dump = stack.local(
        *("pg_dump", "-U", "mlflow", "-d", "mlflow", "--data-only", "--inserts"),
        capture_output=True,
        text=True,
    )
    lines = sorted(line for line in dump.stdout.splitlines() if line.startswith("INSERT"))
    return lines, objects(stack)


@pytest.fixture(scope="module")
def restored(stack, worker, champion, tmp_path_factory):
    """(what there was, the backup): saved while MLflow runs, all volumes lost, put back."""
    root = tmp_path_factory.mktemp("backup")
    backup = root / "backup"
    before = everything(stack)
    done = script("backup.sh", stack, root, f"{backup}/")  # as a shell completes it
    assert done.returncode == 0, done.stderr
    stack.wipe()
    try:
        stack.start_postgres()
        stack.start_s3()
        assert objects(stack) == {}
        done = script("restore.sh", stack, root, str(backup))
        assert done.returncode == 0, done.stderr
        after = everything(stack)
    finally:
        stack.start_mlflow()
    return before, after, backup


def test_every_row_and_object_is_back(restored):
    (rows, files), (rows_after, files_after), _ = restored
    assert len(rows) > 50
    assert any("kept" in row for row in rows)
    assert rows_after == rows
    assert len(files) > 5
    assert files_after == files


def test_champion_loads_and_classifies_as_before(restored, champion, worker, tmp_path):
    done = Task(tmp_path, {}).llmclf(
        "predict", TEXT, "--model", f"models:/{NAME}@champion", **worker
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(champion.predict([TEXT])[0][0] + "\t")
    assert f"{champion.predict_proba([TEXT]).max():.4f}" in done.stdout


def test_a_backup_is_private_and_never_overwritten(restored, stack, tmp_path):
    *_, backup = restored
    files = {f.name: stat.S_IMODE(f.stat().st_mode) for f in backup.iterdir()}
    assert files == dict.fromkeys(("mlflow.dump", "objects.tar", "SHA256SUMS"), 0o600)
    done = script("backup.sh", stack, tmp_path, str(backup))
    assert done.returncode == 2
    assert "exists; name a new directory" in done.stderr


def test_restore_refuses_while_mlflow_runs_or_a_file_is_damaged(restored, stack, tmp_path):
    *_, backup = restored
    before = everything(stack)
    done = script("restore.sh", stack, tmp_path, str(backup))
    assert done.returncode == 2
    assert "stop mlflow" in done.stderr
    damaged = tmp_path / "damaged"
    subprocess.run(["cp", "-r", backup, damaged], check=True)
    (damaged / "objects.tar").write_bytes(b"")
    done = script("restore.sh", stack, tmp_path, str(damaged))
    assert done.returncode == 2
    assert "restore nothing" in done.stderr
    assert everything(stack) == before


@pytest.fixture
def old_store(stack):
    """The store as an older MLflow left it, with one run; all else is put aside."""
    stack.kill("mlflow")
    rename = "ALTER DATABASE {} RENAME TO {}"
    psql = ("psql", "-U", "mlflow", "-d", "postgres", "-q", "-c")
    stack.local(*psql, rename.format("mlflow", "aside"))
    stack.local("createdb", "-U", "mlflow", "mlflow")
    fill_old_store(stack)
    yield
    if "mlflow" in stack.running:
        stack.kill("mlflow")
    stack.local("dropdb", "-U", "mlflow", "--force", "mlflow")
    stack.local(*psql, rename.format("aside", "mlflow"))
    stack.start_mlflow()


def fill_old_store(stack):
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://", creator=stack.connect, poolclass=sqlalchemy.NullPool
    )
    InitialBase.metadata.create_all(engine)
    config = _get_alembic_config("postgresql+psycopg2://")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLD)
    stack.sql(
        """INSERT INTO experiments VALUES (1, 'old', 'mlflow-artifacts:/1', 'active', 1, 1);
           INSERT INTO runs (run_uuid, name, user_id, status, start_time, lifecycle_stage,
                             artifact_uri, experiment_id, source_type)
           VALUES ('r1', 'first', 'someone', 'FINISHED', 1, 'active',
                   'mlflow-artifacts:/1/r1/artifacts', 1, 'LOCAL');
           INSERT INTO params (key, value, run_uuid) VALUES ('rank', '4', 'r1');
           INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
           VALUES ('loss', 0.5, 1, 'r1', 1, false), ('loss', 0.25, 2, 'r1', 2, false);
           INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)
           VALUES ('loss', 0.25, 2, 'r1', 2, false)"""
    )


def revision(stack):
    ((found,),) = stack.sql("SELECT version_num FROM alembic_version")
    return found


def test_an_older_store_is_upgraded_and_its_runs_are_there(restored, stack, old_store, monkeypatch):
    assert revision(stack) == OLD
    upgrade = stack.command("mlflow", "db", "upgrade", "postgresql+psycopg2:///mlflow")
    done = subprocess.run(upgrade, env=stack.environment("mlflow"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert revision(stack) == _get_latest_schema_revision() != OLD
    stack.start_mlflow()
    set_environment(monkeypatch, as_admin(stack))
    client = MlflowClient(stack.uri)
    run = client.get_run("r1")
    assert (run.info.run_name, run.data.params, run.data.metrics) == (
        *("first", {"rank": "4"}), {"loss": 0.25}
    )  # fmt: skip
    assert [p.value for p in client.get_metric_history("r1", "loss")] == [0.5, 0.25]
    client.log_metric("r1", "loss", 0.125, step=3)
    assert client.get_run("r1").data.metrics == {"loss": 0.125}
