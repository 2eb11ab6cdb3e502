"""How artifacts are written and read.

Writing is atomic: an artifact is built in a sibling directory and renamed, so a killed step leaves
the previous artifact or none. Reading refuses what it does not understand in one sentence.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from pydantic import ValidationError

from llmclf_core.errors import UserError, explain_os_errors

_ATTEMPTS = 100

SCHEMA_VERSION = 1
"""Raised whenever an artifact's layout changes; an older reader then refuses it."""


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a new directory to fill; on success it replaces ``path`` in one rename.

    Raises:
        UserError: when the place cannot be written or the disk is full.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.draft")
    try:
        with explain_os_errors(path):
            draft.mkdir(parents=True)
            yield draft
            _replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recover(path: Path) -> None:
    """Bring back the directory that a replacement killed half-way had moved aside, if any."""
    aside = sorted(path.parent.glob(f".{path.name}.*.old"), key=lambda p: p.stat().st_mtime_ns)
    if aside and not path.exists():
        os.rename(aside[-1], path)


def _replace(draft: Path, path: Path) -> None:
    """Rename the draft; several processes may do so at the same time, and the last one wins."""
    for _ in range(_ATTEMPTS):
        old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
        with suppress(FileNotFoundError):
            os.rename(path, old)
        try:
            os.rename(draft, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                if old.exists():
                    os.rename(old, path)
                raise
        finally:
            _remove(old)
    raise UserError(f"cannot write {path}: other processes write it all the time")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, readable by people (indented, Unicode kept, keys in given order)."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.draft")
    with explain_os_errors(path):
        try:
            draft.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """Read an artifact's JSON and check that it is of this kind and schema version.

    Args:
        path: the JSON file; its directory is the artifact.
        kind: ``corpus``, ``tokens``, ``classifier``, ``predictions`` or ``evaluation``.

    Raises:
        UserError: when it is missing, broken, of another kind or of a newer schema.
    """
    data = parse_json(path, kind)
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise UserError(f"{path.parent} is not a {kind}")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path.parent} has {kind} schema {data.get('schema_version')}, this version of llmclf "
            f"reads {SCHEMA_VERSION}; make it again or use the llmclf that wrote it"
        )
    return data


def parse_json(path: Path, kind: str) -> Any:
    """Any JSON file of an artifact; arguments as :func:`read_json`.

    Raises:
        UserError: when it is missing or broken.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a {kind}: {path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; make the {kind} again") from None


@contextmanager
def explain_header(path: Path) -> Iterator[None]:
    """Re-raise what the lack of a key, or a wrong value, in an artifact's JSON leads to.

    Raises:
        UserError: for a ``KeyError`` or a setting that does not validate.
    """
    try:
        yield
    except (KeyError, ValidationError) as error:
        raise UserError(f"{path} lacks something or was changed: {error}; make it again") from error


def stamp(kind: str) -> dict[str, Any]:
    """The head of every artifact's JSON."""
    return {"kind": kind, "schema_version": SCHEMA_VERSION}


def load_split(path: Path, rows: int | None = None) -> datasets.Dataset:
    """Memory-map one saved split; ``rows`` is how many it has to have.

    Raises:
        UserError: when it is missing, not valid Arrow or of another length.
    """
    try:
        data = datasets.load_from_disk(str(path))
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError) as error:
        raise UserError(f"cannot read the Arrow data in {path}: {error}; make it again") from None
    if not isinstance(data, datasets.Dataset):
        raise UserError(f"{path} holds several splits where one was expected")
    if rows is not None and len(data) != rows:
        raise UserError(f"{path} has {len(data)} rows, expected {rows}; make it again")
    return data


def save_split(data: datasets.Dataset, path: Path) -> None:
    """Write one split without a progress bar of its own."""
    shards = None if len(data) else 1  # datasets would write none, and then not read that
    with _quiet():
        data.save_to_disk(str(path), num_shards=shards)


@contextmanager
def _quiet() -> Iterator[None]:
    was_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not was_off:
            datasets.enable_progress_bars()
