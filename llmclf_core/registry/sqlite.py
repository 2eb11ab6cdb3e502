"""SQLite stores of MLflow, made whole or not at all.

MLflow makes a database by some sixty migrations. One that is killed among them leaves tables on
which the next attempt fails, and so does every later one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.engine import make_url

from llmclf_core.errors import explain_os_errors


def database_file(uri: str) -> Path | None:
    """The file of a SQLite tracking URI; None for any other store."""
    if not uri.startswith("sqlite:"):
        return None
    database = make_url(uri).database
    return Path(database) if database and database != ":memory:" else None


def ensure_database(uri: str) -> None:
    """Make the database of a SQLite tracking URI, unless its file is there.

    Of processes that do so at once, one makes it and the others wait for that.

    Raises:
        UserError: when the place cannot be written or the disk is full.
    """
    path = database_file(uri)
    if path is None or path.exists():
        return
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                _make(path)


def artifacts_beside(path: Path) -> str:
    """URI of the folder beside a database: MLflow's own default is wherever a process started."""
    return (path.absolute().parent / "artifacts").as_uri()


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        # A copy: MLflow may keep its own open, and SQLite's locks are the file's.
        with tempfile.TemporaryDirectory() as directory:
            made = Path(directory) / "mlflow.db"
            store = SqlAlchemyStore(f"sqlite:///{made}", artifacts_beside(path))
            store.engine.dispose()
            shutil.copyfile(made, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
