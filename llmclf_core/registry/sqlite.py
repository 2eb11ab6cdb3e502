"""SQLite stores of MLflow, made whole or not at all.

MLflow makes a database by some sixty migrations. One that is killed among them leaves tables on
which the next attempt fails, and so does every later one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock
from mlflow.store.db.db_types import SQLITE
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from llmclf_core.errors import UserError, explain_os_errors


def database_kind(uri: str) -> str:
    """``sqlite`` of ``sqlite+pysqlite:///runs.db``: a URI's scheme, without a driver."""
    return uri.partition(":")[0].partition("+")[0]


def database_file(uri: str) -> Path | None:
    """The file of a SQLite tracking URI; None for any other store."""
    if database_kind(uri) != SQLITE:
        return None
    database = make_url(uri).database
    return Path(database) if database and database != ":memory:" else None


def ensure_database(uri: str) -> None:
    """Make the database of a SQLite tracking URI, unless its file is there.

    Of processes that do so at once, one makes it and the others wait for that.

    Raises:
        UserError: when the place cannot be written or the disk is full.
    """
    if path := database_file(uri):
        with explain_os_errors(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(path.with_name(f".{path.name}.lock")):
                    _make(path)


def artifacts_beside(path: Path) -> str:
    """URI of the folder beside a database: MLflow's own default is wherever a process started."""
    return (path.absolute().parent / "artifacts").as_uri()


def _make(path: Path) -> None:
    if path.exists():
        return  # made while this process waited
    drafts = path.with_name(f".{path.name}.draft")
    shutil.rmtree(drafts, ignore_errors=True)  # of one that was killed
    drafts.mkdir()
    try:
        _make_tables(drafts / "made.db", artifacts_beside(path))
        # MLflow may keep its own open, and SQLite's locks are the file's.
        draft = Path(shutil.copyfile(drafts / "made.db", drafts / "copy.db"))
        _put(draft, path)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def _make_tables(path: Path, artifacts: str) -> None:
    try:
        SqlAlchemyStore(f"sqlite:///{path}", artifacts).engine.dispose()
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error  # without the statement, which is long
        raise UserError(
            f"cannot make MLflow's tables in {path}: {reason}; free or mend that place, run again"
        ) from None


def _put(draft: Path, path: Path) -> None:
    """Move a file where none is: other programs, which know no lock, may have made one."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        os.replace(draft, path)
