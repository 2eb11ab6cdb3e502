"""What memory holds of each row: numbers of fixed size, never its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from llmclf_core.corpus.labelcolumns import Pairs

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass
class Rows:
    """Columns of all accepted rows, in reading order.

    Attributes:
        ids: hash of the id, uint64, shape (n,).
        texts: hash of the text with white space normalised, uint64, shape (n,).
        lengths: characters in the text, int32, shape (n,).
        splits: position in ``SPLITS``, or -1, int8, shape (n,).
        groups: hash of the group, uint64, shape (n,); shape (0,) without groups.
        files: position in ``file_names``, int32, shape (n,).
        numbers: number in that file, from 1, int64, shape (n,).
        labels: 0/1 matrix of labels, CSR, int8, shape (n, n_labels).
        file_names: the files read.
    """

    ids: Array
    texts: Array
    lengths: Array
    splits: Array
    groups: Array
    files: Array
    numbers: Array
    labels: sparse.csr_array
    file_names: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, row: int) -> str:
        """How to name a row to a person."""
        return f"{self.file_names[self.files[row]]}, row {self.numbers[row]}"

    def label_sets(self) -> npt.NDArray[np.uint64]:
        """A hash of each row's label set, shape (n,)."""
        random = np.random.default_rng(0).integers(
            0, 2**63, self.labels.shape[1], dtype=np.uint64, endpoint=True
        )
        sums = np.concatenate([[np.uint64(0)], np.cumsum(random[self.labels.indices])])
        sets: npt.NDArray[np.uint64] = np.diff(sums[self.labels.indptr])
        return sets


@dataclass
class RowsBuilder:
    """Gathers :class:`Rows` a chunk at a time."""

    _chunks: dict[str, list[Array]] = field(default_factory=dict)
    _pairs: list[Pairs] = field(default_factory=list)
    _files: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, file: str, pairs: Pairs, **columns: Array) -> None:
        """Append a chunk's rows; ``pairs.rows`` counts from the chunk's first row."""
        columns["files"] = np.full(
            len(columns["ids"]), self._files.setdefault(file, len(self._files)), np.int32
        )
        for name, values in columns.items():
            self._chunks.setdefault(name, []).append(values)
        self._pairs.append(Pairs(pairs.rows + self._count, pairs.labels))
        self._count += len(columns["ids"])

    def finish(self, new_ids: npt.NDArray[np.int32]) -> Rows:
        """All rows, with label ``i`` of the pairs renumbered to ``new_ids[i]``."""
        columns = {name: np.concatenate(parts) for name, parts in self._chunks.items()}
        self._chunks.clear()
        rows = np.concatenate([p.rows for p in self._pairs])
        labels = new_ids[np.concatenate([p.labels for p in self._pairs])]
        self._pairs.clear()
        matrix = sparse.csr_array(
            (np.ones(len(rows), np.int8), (rows, labels)), (self._count, len(new_ids))
        )
        matrix.sort_indices()
        return Rows(**columns, labels=matrix, file_names=list(self._files))
