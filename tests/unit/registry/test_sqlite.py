"""A SQLite store is made whole or not at all."""

import os
import signal
from multiprocessing import get_context
from unittest import mock

import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.db import utils
from sqlalchemy.exc import OperationalError

from llmclf_core.errors import UserError
from llmclf_core.registry import sqlite
from llmclf_core.registry.client import connect, require_reachable
from llmclf_core.registry.sqlite import database_file, ensure_database
from pipelines.store import prepare_store


def killed_among_the_migrations(uri):
    utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)
    utils._initialize_tables = make_tables
    ensure_database(uri)


def make_tables(engine):
    """As MLflow does; tests copy tables otherwise."""
    utils.InitialBase.metadata.create_all(engine)
    utils._upgrade_db(engine)


def make_and_use(uri):
    """Adds an experiment of its own."""
    ensure_database(uri)
    MlflowClient(uri).create_experiment(str(os.getpid()))


def in_processes(work, uri, number=1):
    """The exit statuses of processes that begin together."""
    context = get_context("fork")
    processes = [context.Process(target=work, args=(uri,)) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_a_killed_attempt_leaves_nothing_that_stops_the_next(tmp_path):
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert in_processes(killed_among_the_migrations, uri) == [-signal.SIGKILL]
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert [e.name for e in connect(uri).search_experiments()] == ["Default"]
    assert {p.name for p in (tmp_path / "runs").iterdir()} <= {"mlflow.db", ".mlflow.db.lock"}


def test_several_at_once_have_one(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert in_processes(make_and_use, uri, 4) == [0] * 4
    assert len(MlflowClient(uri).search_experiments()) == 5
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", ".mlflow.db.lock"}


def test_what_another_program_makes_meanwhile_is_kept(tmp_path, monkeypatch):
    path, make = tmp_path / "mlflow.db", sqlite._make_tables
    monkeypatch.setattr(sqlite, "_make_tables", lambda *a: make(*a) or path.write_text("theirs"))
    ensure_database(f"sqlite:///{path}")
    assert path.read_text() == "theirs"


def test_a_file_system_without_links_has_one_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", mock.Mock(side_effect=PermissionError))
    assert len(connect(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()) == 1


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    full = OperationalError("CREATE TABLE", {}, Exception("database or disk is full"))
    monkeypatch.setattr(sqlite, "SqlAlchemyStore", mock.Mock(side_effect=full))
    with pytest.raises(
        UserError, match=r"^cannot make MLflow's tables in .*: database or disk is full; "
    ):
        ensure_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] in ([], [".mlflow.db.lock"])


def test_tables_half_made_by_others_are_explained(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/mlflow.db")
    utils.InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE _alembic_tmp_metrics (key INTEGER)"))
    with (
        mock.patch.object(utils, "_initialize_tables", make_tables),
        pytest.raises(UserError, match=r"already exists.*half made: .*move it away"),
    ):
        prepare_store(tmp_path, "mine")


def test_a_store_that_cannot_be_made_is_told_in_its_own_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write .*/file/mlflow.db"):
        require_reachable(f"sqlite:///{tmp_path}/file/mlflow.db", "")


def test_one_that_is_there_is_left_alone(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    connect(uri).create_experiment("mine")
    ensure_database(uri)
    assert {e.name for e in connect(uri).search_experiments()} == {"mine", "Default"}


def test_artifacts_of_the_default_experiment_lie_beside_it(tmp_path):
    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_experiment("0").artifact_location.startswith(tmp_path.as_uri())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"cannot write {tmp_path}/file/mlflow.db"):
        ensure_database(f"sqlite:///{tmp_path}/file/mlflow.db")


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////data/mlflow.db", "/data/mlflow.db"),
        ("sqlite:///runs/mlflow.db", "runs/mlflow.db"),
        ("sqlite:///:memory:", None),
        ("sqlite+pysqlite:///runs/mlflow.db", "runs/mlflow.db"),
        ("sqlite://", None),
        ("postgresql://host/sqlite", None),
        ("http://host:5000", None),
    ],
)
def test_the_file_of_a_uri(uri, file):
    found = database_file(uri)
    assert (str(found) if found else None) == file
