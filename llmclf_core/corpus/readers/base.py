"""What every reader is given and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmclf_core.config import IngestConfig
from llmclf_core.errors import UserError

CHUNK_ROWS = 4096
"""Rows in a chunk: small enough for bounded memory, large enough for vectorised work."""
CHUNK_BYTES = 8 << 20
"""Text in a chunk, about, whatever the number of rows."""


@dataclass(frozen=True)
class Part:
    """One piece of the source that one reader reads.

    Attributes:
        place: as the user wrote it; for messages and the report.
        paths: the files, or the directory; empty for a hub id.
        format: any ``SourceFormat`` but ``auto``.
        split: the split that the source assigns, or None.
        config: the settings.
        replaced: file to count of bytes replaced by U+FFFD; filled while reading.
        warnings: for the report; filled while reading.
        commit: the hub's commit, or empty; filled while reading.
    """

    place: str
    paths: tuple[Path, ...]
    format: str
    split: str | None
    config: IngestConfig
    replaced: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    commit: list[str] = field(default_factory=list)

    def note_replaced(self, file: str, count: int) -> None:
        if count:
            self.replaced[file] = self.replaced.get(file, 0) + count


@dataclass(frozen=True)
class Chunk:
    """A few rows with the needed columns, in whatever types the source has.

    Attributes:
        rows: the columns that the settings name.
        file: the file they are from.
        first: number of the first row in that file, from 1.
        split: the split that the source assigns, or None.
        names: the file of each row, where a row is a file.
    """

    rows: pa.RecordBatch
    file: str
    first: int
    split: str | None = None
    names: Sequence[str] | None = None

    def where(self, i: int) -> str:
        """How to name row ``i`` of this chunk to a person."""
        return self.names[i] if self.names else f"{self.file}, row {self.first + i}"

    def head(self, rows: int) -> Chunk:
        """The first rows."""
        return replace(self, rows=self.rows.slice(0, rows))


Reader = Callable[[Part], Iterator[Chunk]]


def needed_columns(config: IngestConfig) -> list[str]:
    """The source columns that the settings name, each once, in a fixed order."""
    optional = (config.id, config.split.column, config.split.group)
    names = [*config.text, *config.labels.columns, *(c for c in optional if c)]
    return list(dict.fromkeys(names))


def require_columns(present: Sequence[str], config: IngestConfig, file: str) -> None:
    """Check that every needed column is there, once.

    Raises:
        UserError: naming the missing or ambiguous ones and listing those present.
    """
    needed = needed_columns(config)
    if missing := [name for name in needed if name not in present]:
        raise UserError(
            f"{file}: no column {', '.join(map(repr, missing))}; the columns are "
            f"{shorten(present)}. Set `text`, `labels.columns`, `id` or `split` to match"
        )
    if twice := [name for name in needed if list(present).count(name) > 1]:
        raise UserError(f"{file}: column {twice[0]!r} occurs twice in the header; rename one")


def shorten(names: Sequence[Any], limit: int = 30) -> str:
    """Names for a message, cut off after ``limit``."""
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(str(name) for name in list(names)[:limit]) + more


def slices(table: pa.Table, rows: int = CHUNK_ROWS) -> Iterator[pa.RecordBatch]:
    """Record batches of at most ``rows`` rows and about ``CHUNK_BYTES``."""
    if table.num_rows:
        heavy = max(1, table.nbytes // CHUNK_BYTES)
        rows = max(1, min(rows, table.num_rows // heavy))
    yield from table.to_batches(max_chunksize=rows)
