"""Which texts a version has learnt from: hashes kept at its registration, asked by the gate."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from llmclf_core.artifacts import TEST, TRAIN, VALIDATION, Corpus
from llmclf_core.errors import UserError
from llmclf_core.progress import Ticker
from llmclf_core.registry.package import CLASSIFIER_TAG

UInt64s = npt.NDArray[np.uint64]

LEAST_ROWS, LEAST_SHARE = 30, 0.1
"""Of the test rows so many have to be new to the champion."""

_FOLDER = "learnt_texts"
_BATCH = 10_000
_SPACE = b" \t\n\r\f\v"


def text_hashes(rows: datasets.Dataset) -> UInt64s:
    """64-bit hash of each text, shape (n,); white space and case do not count."""
    found = np.empty(len(rows), np.uint64)
    with Ticker("hashing texts", len(rows)) as ticker:
        for batch in rows.select_columns("text").iter(_BATCH):
            digests = b"".join(map(_digest, batch["text"]))
            found[ticker.done : ticker.done + len(batch["text"])] = np.frombuffer(digests, "<u8")
            ticker.update(len(batch["text"]))
    return found


def _digest(text: str) -> bytes:
    bare = text.lower().encode().translate(None, _SPACE)
    return hashlib.blake2b(bare, digest_size=8, usedforsecurity=False).digest()


def keep_learnt(client: MlflowClient, run_id: str, classifier: str, corpus_path: Path) -> None:
    """Store hashes of a corpus's training and validation texts, unless they are there already.

    Args:
        client: the MLflow client.
        run_id: the training run.
        classifier: fingerprint of the classifier, which was trained on the corpus.
        corpus_path: the corpus.
    """
    if _is_there(client, run_id, classifier):
        return
    splits = Corpus.load(corpus_path).splits
    hashes = [text_hashes(splits[name]) for name in (TRAIN, VALIDATION) if name in splits]
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        path = Path(temporary, f"{classifier}.npy")
        np.save(path, np.unique(np.concatenate(hashes)), allow_pickle=False)
        client.log_artifact(run_id, str(path), _FOLDER)


def _is_there(client: MlflowClient, run_id: str, classifier: str) -> bool:
    wanted = f"{_FOLDER}/{classifier}.npy"
    return any(file.path == wanted for file in client.list_artifacts(run_id, _FOLDER))


def without_learnt(
    client: MlflowClient, version: ModelVersion, corpus: Corpus
) -> tuple[Corpus, int]:
    """A corpus without the test rows that a version has learnt from, and how many these are.

    Splits are drawn anew whenever data grow, so test rows may have been training rows before.
    Rows of equal text are found, near duplicates are not.

    Raises:
        UserError: when it is not known what the version has learnt, or too few rows are left.
    """
    rows = corpus.splits[TEST]
    fresh = np.flatnonzero(~np.isin(text_hashes(rows), _learnt(client, version)))
    left_out = len(rows) - len(fresh)
    if left_out and len(fresh) < max(LEAST_ROWS, LEAST_SHARE * len(rows)):
        raise UserError(
            f"it has learnt from {left_out} of the {len(rows)} test rows, and the other "
            f"{len(fresh)} are too few to compare on; give ingest a test source that stays the "
            "same, or move the alias champion by hand"
        )
    return replace(corpus, splits=corpus.splits | {TEST: rows.select(fresh)}), left_out


def _learnt(client: MlflowClient, version: ModelVersion) -> UInt64s:
    classifier = version.tags.get(CLASSIFIER_TAG)
    if not version.run_id or not classifier or not _is_there(client, version.run_id, classifier):
        raise UserError(
            "it is not known which of the test rows it was trained on: an older llmclf registered "
            "it, or it was registered with a corpus that it was not trained on; register it again "
            "with its training corpus, or move the alias champion by hand"
        )
    with tempfile.TemporaryDirectory(prefix="llmclf-") as temporary:
        file = f"{_FOLDER}/{classifier}.npy"
        path = client.download_artifacts(version.run_id, file, temporary)
        hashes: UInt64s = np.load(path, allow_pickle=False)
    return hashes
