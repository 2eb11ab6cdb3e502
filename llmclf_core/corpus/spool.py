"""Ids and texts between reading and writing: an Arrow stream on disk, read front to back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])


class Spool:
    """An Arrow stream file of ids and texts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, SCHEMA)

    def add(self, ids: pa.Array, texts: pa.Array) -> None:
        """Append rows."""
        self._writer.write_batch(pa.record_batch([ids, texts], schema=SCHEMA))

    def finish(self) -> None:
        """No more rows."""
        self._writer.close()
        self._file.close()

    def close(self) -> None:
        """Release the file, whole or not."""
        self._file.close()

    def read(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Each batch with the position of its first row.

        Read, not memory-mapped: a page that has been passed does not count as ours.
        """
        first = 0
        with pa.OSFile(str(self._path)) as file:
            for batch in pa.ipc.open_stream(file):
                yield first, batch
                first += batch.num_rows
