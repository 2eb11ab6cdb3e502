"""The nouns that pass between steps, and how they are written and read.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from llmclf_core.errors import UserError, explain_os_errors
from llmclf_core.labels import LabelSpace

_ATTEMPTS = 100

SCHEMA_VERSION = 1
"""Raised whenever an artifact's layout changes; an older reader then refuses it."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

CORPUS_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "text": datasets.Value("large_string"),
        "labels": datasets.List(datasets.Value("int32")),
    }
)
"""Columns of every split of a :class:`Corpus`; ``labels`` holds label ids, one when
single-label."""


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


@dataclass
class Corpus:
    """Labelled texts in splits. Written by ingest, read by tokenize and evaluate.

    Attributes:
        splits: ``train``, ``validation``, ``test``; columns as in :data:`CORPUS_FEATURES`.
        labels: the label space.
        fingerprint: of the source, the settings and every kept row; equal corpora, equal prints.
        report: what validation, deduplication and splitting found (JSON-serialisable).
    """

    splits: dict[str, datasets.Dataset]
    labels: LabelSpace
    fingerprint: str
    report: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Raises UserError when the place cannot be written."""
        with atomic_directory(path) as draft:
            for name, data in self.splits.items():
                save_split(data, draft / name)
            self.write_header(draft)

    def write_header(self, path: Path) -> None:
        """Write all but the splits themselves (ingest streams those)."""
        header = stamp("corpus") | {
            "fingerprint": self.fingerprint,
            "labels": self.labels.to_json(),
            "splits": {name: len(data) for name, data in self.splits.items()},
        }
        write_json(path / "corpus.json", header)
        write_json(path / "report.json", self.report)

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Raises UserError for anything that is not a whole corpus of this schema."""
        header = read_json(path / "corpus.json", "corpus")
        report = parse_json(path / "report.json", "corpus")
        with explain_header(path / "corpus.json"):
            return cls(
                splits={n: load_split(path / n, rows) for n, rows in header["splits"].items()},
                labels=LabelSpace.from_json(header["labels"]),
                fingerprint=header["fingerprint"],
                report=report,
            )


@dataclass
class Tokens:
    """Token ids of the training and validation rows (never of the test rows).

    Attributes:
        splits: ``train`` and ``validation``; columns ``id`` (string), ``input_ids`` (list of
            int32), ``labels`` (list of int32 label ids).
        labels: the label space.
        recipe: the settings that made them, applied again at prediction.
        corpus: fingerprint of the corpus.
        fingerprint: of the corpus, the tokenizer and the settings.
        statistics: rows, tokens, truncated rows and lost tokens for each split.
        tokenizer: directory of the saved tokenizer.
    """

    splits: dict[str, datasets.Dataset]
    labels: LabelSpace
    recipe: dict[str, Any]
    corpus: str
    fingerprint: str
    statistics: dict[str, dict[str, float]]
    tokenizer: Path

    def save(self, path: Path) -> None:
        """Raises UserError when the place cannot be written."""
        with atomic_directory(path) as draft:
            for name, data in self.splits.items():
                save_split(data, draft / name)
            shutil.copytree(self.tokenizer, draft / "tokenizer")
            header = stamp("tokens") | {
                "fingerprint": self.fingerprint,
                "corpus": self.corpus,
                "labels": self.labels.to_json(),
                "recipe": self.recipe,
                "statistics": self.statistics,
                "splits": {name: len(data) for name, data in self.splits.items()},
            }
            write_json(draft / "tokens.json", header)

    @classmethod
    def load(cls, path: Path) -> Tokens:
        """Raises UserError for anything that is not a whole set of tokens of this schema."""
        header = read_json(path / "tokens.json", "tokens")
        with explain_header(path / "tokens.json"):
            return cls(
                splits={n: load_split(path / n, rows) for n, rows in header["splits"].items()},
                labels=LabelSpace.from_json(header["labels"]),
                recipe=header["recipe"],
                corpus=header["corpus"],
                fingerprint=header["fingerprint"],
                statistics=header["statistics"],
                tokenizer=path / "tokenizer",
            )


@dataclass
class Predictions:
    """What a classifier said of the test rows. Written by evaluate, read by compare.

    Attributes:
        ids: row ids, in corpus order.
        truth: 0/1 matrix of the true labels, shape (n, n_labels), int8.
        logits: uncalibrated scores, shape (n, n_labels), float32.
        probabilities: calibrated, shape (n, n_labels), float32.
        predicted: 0/1 matrix, shape (n, n_labels), int8; one 1 a row when single-label.
        labels: the label space.
        corpus: fingerprint of the corpus.
        classifier: fingerprint of the classifier.
    """

    ids: list[str]
    truth: npt.NDArray[np.int8]
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int8]
    labels: LabelSpace
    corpus: str
    classifier: str

    def save(self, path: Path) -> None:
        """Raises UserError when the place cannot be written."""
        with atomic_directory(path) as draft:
            self.write_files(draft)

    def write_files(self, path: Path) -> None:
        """Write ``predictions.json`` and ``rows`` into a directory (a larger artifact's draft)."""
        data = datasets.Dataset.from_dict(
            {
                "id": self.ids,
                "labels": _label_lists(self.truth),
                "logits": list(self.logits),
                "probabilities": list(self.probabilities),
                "predicted": _label_lists(self.predicted),
            },
            features=datasets.Features(
                {
                    "id": datasets.Value("string"),
                    "labels": datasets.List(datasets.Value("int32")),
                    "logits": datasets.List(datasets.Value("float32")),
                    "probabilities": datasets.List(datasets.Value("float32")),
                    "predicted": datasets.List(datasets.Value("int32")),
                }
            ),
        )
        save_split(data, path / "rows")
        header = {
            "rows": len(self.ids),
            "labels": self.labels.to_json(),
            "corpus": self.corpus,
            "classifier": self.classifier,
        }
        write_json(path / "predictions.json", stamp("predictions") | header)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Raises UserError for anything that is not a whole set of predictions of this schema."""
        header = read_json(path / "predictions.json", "predictions")
        with explain_header(path / "predictions.json"):
            labels = LabelSpace.from_json(header["labels"])
            rows = load_split(path / "rows", header["rows"])[:]
            return cls(
                ids=rows["id"],
                truth=labels.indicators(rows["labels"]),
                logits=_matrix(rows["logits"], labels),
                probabilities=_matrix(rows["probabilities"], labels),
                predicted=labels.indicators(rows["predicted"]),
                labels=labels,
                corpus=header["corpus"],
                classifier=header["classifier"],
            )


def _matrix(rows: list[list[float]], labels: LabelSpace) -> npt.NDArray[np.float32]:
    return np.asarray(rows, dtype=np.float32).reshape(-1, len(labels))


def _label_lists(indicators: npt.NDArray[np.int8]) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in indicators]
