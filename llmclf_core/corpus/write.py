"""The second pass: the kept rows from the spool into one Arrow file a split, with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from llmclf_core.artifacts import CORPUS_FEATURES, SPLITS
from llmclf_core.corpus.rows import Array, Mask, Rows
from llmclf_core.corpus.spool import Spool
from llmclf_core.files import save_split
from llmclf_core.paths import fingerprint
from llmclf_core.progress import Ticker

_SCHEMA = CORPUS_FEATURES.arrow_schema


def write_splits(spool: Spool, rows: Rows, kept: Mask, folder: Path) -> dict[str, str]:
    """Write every split as ``datasets`` saves it, a batch at a time.

    Args:
        spool: ids and texts of all rows.
        rows: their splits and labels.
        kept: which rows are written, shape (n,).
        folder: gets one directory a split.

    Returns:
        The fingerprint of each split's ids, texts and labels, in order.
    """
    writers = [SplitWriter(folder / split) for split in SPLITS]
    with Ticker("writing", len(rows)) as progress:
        for first, batch in spool.read():
            span = slice(first, first + batch.num_rows)
            for code, writer in enumerate(writers):
                chosen = np.flatnonzero(kept[span] & (rows.splits[span] == code))
                if len(chosen):
                    writer.add(batch.take(pa.array(chosen)), rows.labels[first + chosen])
            progress.update(batch.num_rows)
    return {split: writer.finish() for split, writer in zip(SPLITS, writers, strict=True)}


class SplitWriter:
    """Streams one split; memory holds one batch of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digest = Digest()
        self._file = _template(folder)
        self._sink = pa.OSFile(str(self._file), "wb")
        self._writer = pa.ipc.new_stream(self._sink, _SCHEMA)

    def add(self, batch: pa.RecordBatch, labels: sparse.csr_array) -> None:
        """Append rows (``id``, ``text``) with their labels (CSR, one row each)."""
        lists = pa.ListArray.from_arrays(
            pa.array(labels.indptr.astype(np.int32)), pa.array(labels.indices.astype(np.int32))
        )
        self._writer.write_batch(
            pa.RecordBatch.from_arrays([batch.column(0), batch.column(1), lists], schema=_SCHEMA)
        )
        self._digest.add("id", batch.column(0))
        self._digest.add("text", batch.column(1))
        self._digest.add_numbers("labels", np.diff(labels.indptr), labels.indices)

    def finish(self) -> str:
        """Close the file; give the fingerprint."""
        self._writer.close()
        self._sink.close()
        mark = self._digest.fingerprint()
        state = self._folder / "state.json"
        # `datasets` names its caches by this; equal splits share them, others never do.
        state.write_text(json.dumps(json.loads(state.read_text()) | {"_fingerprint": mark}))
        return mark


def _template(folder: Path) -> Path:
    """Let ``datasets`` lay out a split with a single row; its data file is to be written over."""
    row = {"id": [""], "text": [""], "labels": [[0]]}
    save_split(datasets.Dataset.from_dict(row, features=CORPUS_FEATURES), folder)
    (data,) = json.loads((folder / "state.json").read_text())["_data_files"]
    return folder / str(data["filename"])


class Digest:
    """SHA-256 of columns, the same however the rows come in batches."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}

    def _update(self, name: str, data: bytes) -> None:
        self._hashes.setdefault(name, hashlib.sha256()).update(data)

    def add(self, name: str, strings: pa.Array) -> None:
        """Append to a text column."""
        self._update(f"{name} sizes", _bytes(pc.binary_length(strings).to_numpy()))
        self._update(name, b"".join(strings.cast(pa.large_binary()).to_pylist()))

    def add_numbers(self, name: str, sizes: Array, values: Array) -> None:
        """Append to a column of number lists."""
        self._update(f"{name} sizes", _bytes(sizes))
        self._update(name, _bytes(values))

    def fingerprint(self) -> str:
        """16 hex digits."""
        return fingerprint({name: h.hexdigest() for name, h in self._hashes.items()})


def _bytes(numbers: Array) -> bytes:
    return bytes(np.asarray(numbers, dtype="<i8").tobytes())
