"""Parquet, and Arrow IPC in its file and its stream form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from llmclf_core.corpus.readers.base import Chunk, Part, needed_columns, require_columns, slices
from llmclf_core.errors import UserError

_FILE_MAGIC = b"ARROW1"
_PARQUET_ROWS = 1024

BatchReader = Callable[[Path, Part], Iterator[Any]]


def read_parquet(part: Part) -> Iterator[Chunk]:
    """Parquet files, a batch of rows at a time."""
    return _read(part, _parquet_batches)


def read_arrow(part: Part) -> Iterator[Chunk]:
    """Arrow IPC files (Feather V2) and Arrow IPC streams."""
    return _read(part, _arrow_batches)


def _read(part: Part, batches: BatchReader) -> Iterator[Chunk]:
    for path in part.paths:
        first = 1
        with explain_corruption(path):
            for batch in batches(path, part):
                for rows in slices(pa.Table.from_batches([batch])):
                    yield Chunk(rows, str(path), first, part.split)
                    first += rows.num_rows
        if first == 1:
            raise UserError(f"{path} is empty: it has no rows")


def _parquet_batches(path: Path, part: Part) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(path) as file:
        require_columns(file.schema_arrow.names, part.config, str(path))
        yield from file.iter_batches(_PARQUET_ROWS, columns=needed_columns(part.config))


def _arrow_batches(path: Path, part: Part) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file:
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        file.seek(0)
        reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        require_columns(reader.schema.names, part.config, str(path))
        columns = needed_columns(part.config)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            # Offsets in a damaged file may point anywhere; look before they are followed.
            batch.validate(full=True)
            yield batch.select(columns)


@contextmanager
def explain_corruption(path: Path) -> Iterator[None]:
    """Re-raise what Arrow says of a damaged file as a UserError.

    Raises:
        UserError: naming the file.
    """
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is damaged or not of this format: {reason}; write it again or set `format`"
        ) from None
