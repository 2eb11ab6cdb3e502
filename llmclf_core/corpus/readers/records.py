"""Rows that come as Python dictionaries (JSON, XML, text files) to Arrow chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from llmclf_core.corpus.readers.base import (
    CHUNK_BYTES,
    CHUNK_ROWS,
    Chunk,
    Part,
    needed_columns,
    require_columns,
)
from llmclf_core.errors import UserError


@dataclass(frozen=True)
class Row:
    """One row before it is Arrow.

    Attributes:
        values: column name to scalar or list of scalars.
        where: how to name it to a person.
    """

    values: dict[str, Any]
    where: str


def chunks(rows: Iterable[Row], part: Part, file: str) -> Iterator[Chunk]:
    """Gather rows into chunks of bounded size; a column is a string or a list of strings.

    Raises:
        UserError: for no rows at all, a missing column, or a value that is no text or number.
    """
    first = 1
    for group in _groups(rows):
        if first == 1:
            present = list(dict.fromkeys(name for row in group for name in row.values))
            require_columns(present, part.config, file)
        batch = pa.RecordBatch.from_pydict(
            {name: _column(name, group, part) for name in needed_columns(part.config)}
        )
        yield Chunk(batch, file, first, part.split, [row.where for row in group])
        first += len(group)
    if first == 1:
        raise UserError(f"{file} is empty: it has no rows")


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(v) for v in row.values.values() if isinstance(v, str))
        if len(group) == CHUNK_ROWS or size > CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _column(name: str, group: list[Row], part: Part) -> pa.Array:
    values = [_plain(row, name, part) for row in group]
    lists = any(isinstance(value, list) for value in values)
    if lists:
        values = [v if v is None or isinstance(v, list) else [v] for v in values]
    string = pa.large_string()
    return pa.array(values, pa.large_list(string) if lists else string)


def _plain(row: Row, name: str, part: Part) -> str | list[str | None] | None:
    value = row.values.get(name)
    try:
        if isinstance(value, list):
            return [_scalar(item, part) for item in value]
        return _scalar(value, part)
    except ValueError as error:
        raise UserError(f"{row.where}, column {name!r}: {error}") from None


def _scalar(value: object, part: Part) -> str | None:
    if isinstance(value, str):
        return _valid(value, part)
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool | int | float):
        return str(value)
    raise ValueError(f"expected text or a number, found {type(value).__name__}")


def _valid(text: str, part: Part) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        if part.config.bad_bytes == "error":
            raise ValueError(
                "half of a surrogate pair (\\ud800-\\udfff alone) is not text; mend it or set "
                "`bad_bytes: replace`"
            ) from None
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        part.note_replaced(part.place, mended.count("\ufffd") - text.count("\ufffd"))
        return mended
    return text
