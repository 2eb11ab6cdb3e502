"""CSV and TSV, streamed by Arrow; every value is read as text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from llmclf_core.corpus.readers.base import Chunk, Part, needed_columns, require_columns, slices
from llmclf_core.corpus.readers.text import Utf8Stream, lines
from llmclf_core.errors import UserError

_BLOCK = 4 << 20


def read_csv(part: Part) -> Iterator[Chunk]:
    """Comma-separated files with a header line; quoted values may hold newlines."""
    return _read(part, ",")


def read_tsv(part: Part) -> Iterator[Chunk]:
    """Tab-separated files with a header line, quoted like CSV."""
    return _read(part, "\t")


def _read(part: Part, delimiter: str) -> Iterator[Chunk]:
    for path in part.paths:
        names = _header(path, part, delimiter)
        require_columns(names, part.config, str(path))
        with Utf8Stream(path, part) as stream:
            yield from _chunks(stream, path, part, names, delimiter)


def _header(path: Path, part: Part, delimiter: str) -> list[str]:
    with closing(lines(path, part)) as text:
        header = next(csv.reader(text, delimiter=delimiter), None)
    if header is None:
        raise UserError(f"{path} is empty; expected a header line and rows")
    return header


def _chunks(
    stream: Utf8Stream, path: Path, part: Part, names: list[str], delimiter: str
) -> Iterator[Chunk]:
    bad: list[Any] = []
    try:
        reader = _open(stream, part, names, delimiter, bad)
        first = 1
        for batch in reader:
            for rows in slices(pa.Table.from_batches([batch])):
                yield Chunk(rows, str(path), first, part.split)
                first += rows.num_rows
    except pa.ArrowInvalid as error:
        raise UserError(_explain(path, part, bad, str(error))) from None


def _open(
    stream: Utf8Stream, part: Part, names: list[str], delimiter: str, bad: list[Any]
) -> arrow_csv.CSVStreamingReader:
    def refuse(row: arrow_csv.InvalidRow) -> str:
        bad.append(row)
        return "error"

    columns = needed_columns(part.config)
    # Names that nobody needs may repeat in the file, but not in Arrow.
    unique = [name if name in columns else f"{i}:{name}" for i, name in enumerate(names)]
    return arrow_csv.open_csv(
        stream,
        # With threads, Arrow does not know the number of a malformed row.
        read_options=arrow_csv.ReadOptions(
            column_names=unique,
            skip_rows_after_names=1,
            block_size=_block_size(part),
            use_threads=False,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse
        ),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.large_string())
        ),
    )


def _block_size(part: Part) -> int:
    # A row has to fit in a block: room for the longest text, every character four bytes.
    return max(_BLOCK, min(4 * part.config.max_chars + _BLOCK, 1 << 30))


def _explain(path: Path, part: Part, bad: list[Any], message: str) -> str:
    if bad:
        row = bad[-1]
        return (
            f"{path}, row {row.number - 1}: malformed: {row.actual_columns} values where the "
            f"header has {row.expected_columns}: {row.text[:80]!r}; quote values that hold the "
            "delimiter, a quote or a newline"
        )
    if "straddling" in message or "block" in message:
        return (
            f"{path}: a row is larger than {_block_size(part) >> 20} MB: a quote that is not "
            f"closed, or a text over max_chars ({part.config.max_chars}); mend it or raise "
            "`max_chars`"
        )
    return f"{path}: malformed: {message}"
