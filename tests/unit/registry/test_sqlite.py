"""A SQLite store is made whole or not at all."""

import os
import signal
from multiprocessing import get_context

import pytest
from mlflow import MlflowClient
from mlflow.store.db import utils

from llmclf_core.errors import UserError
from llmclf_core.registry.client import connect
from llmclf_core.registry.sqlite import database_file, ensure_database


def killed_among_the_migrations(uri):
    utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)
    utils._initialize_tables = make_tables
    ensure_database(uri)


def make_tables(engine):
    """As MLflow does; tests copy tables otherwise."""
    utils.InitialBase.metadata.create_all(engine)
    utils._upgrade_db(engine)


def make_and_count(uri):
    """Exits with the number of experiments seen, plus one."""
    ensure_database(uri)
    os._exit(1 + len(MlflowClient(uri).search_experiments()))


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


def test_several_at_once_have_one(tmp_path):
    assert in_processes(make_and_count, f"sqlite:///{tmp_path}/mlflow.db", 4) == [2] * 4
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", ".mlflow.db.lock"}


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
        ("sqlite://", None),
        ("postgresql://host/sqlite", None),
        ("http://host:5000", None),
    ],
)
def test_the_file_of_a_uri(uri, file):
    found = database_file(uri)
    assert (str(found) if found else None) == file
