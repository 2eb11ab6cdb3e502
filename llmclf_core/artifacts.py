"""The nouns that pass between steps: what they hold, and how they lie on disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt

from llmclf_core.errors import UserError
from llmclf_core.files import (
    atomic_directory,
    explain_header,
    load_split,
    parse_json,
    read_json,
    save_split,
    stamp,
    write_json,
)
from llmclf_core.labels import LabelSpace

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

    def check_trainable(self, path: Path) -> None:
        """Raises UserError when there are no training or validation rows; ``path`` is named."""
        for name, use in (
            (TRAIN, "training"),
            (VALIDATION, "choosing the best step and calibration"),
        ):
            if not len(self.splits[name]):
                raise UserError(
                    f"{path} has no {name} rows, but {use} needs some; change ingest.split and "
                    "ingest again"
                )

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
            int32; with a prompt the document's alone), ``labels`` (list of int32 label ids).
        labels: the label space.
        recipe: the settings that made them, applied again at prediction.
        corpus: fingerprint of the corpus.
        fingerprint: of the corpus, the tokenizer and the settings.
        statistics: rows, tokens, truncated rows and lost tokens for each split.
        tokenizer: directory of the saved tokenizer.
        prompt: what stands around the documents (a :class:`~llmclf_core.tokens.prompt.Prompt` as
            JSON), or None.
    """

    splits: dict[str, datasets.Dataset]
    labels: LabelSpace
    recipe: dict[str, Any]
    corpus: str
    fingerprint: str
    statistics: dict[str, dict[str, float]]
    tokenizer: Path
    prompt: dict[str, Any] | None = None

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
                "prompt": self.prompt,
            }
            write_json(draft / "tokens.json", header)

    @classmethod
    def load(cls, path: Path, prompted: bool | None = None) -> Tokens:
        """Load tokens; with ``prompted`` they have to be made for a prompt, or (false) must not be.

        Raises UserError for anything else, or no whole set of tokens of this schema.
        """
        header = read_json(path / "tokens.json", "tokens")
        with explain_header(path / "tokens.json"):
            if prompted not in (None, header["prompt"] is not None):
                raise UserError(
                    f"{path} was {'not ' if prompted else ''}made for instruct; tokenize the "
                    "corpus for this approach"
                )
            return cls(
                splits={n: load_split(path / n, rows) for n, rows in header["splits"].items()},
                labels=LabelSpace.from_json(header["labels"]),
                recipe=header["recipe"],
                corpus=header["corpus"],
                fingerprint=header["fingerprint"],
                statistics=header["statistics"],
                tokenizer=path / "tokenizer",
                prompt=header["prompt"],
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
