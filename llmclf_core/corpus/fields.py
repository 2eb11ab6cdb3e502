"""From a chunk's columns to texts, ids, splits and groups, vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from llmclf_core.artifacts import SPLITS
from llmclf_core.config import IngestConfig
from llmclf_core.corpus.readers import Chunk
from llmclf_core.corpus.splitnames import canonical_split
from llmclf_core.errors import UserError

UNASSIGNED = -1
"""Split code of a row that no source has put into a split."""

_STRING = pa.large_string()
# How pandas writes a missing text.
_MISSING = pa.array(["nan", "NaN", "<NA>"], _STRING)


def hashes(strings: pa.Array) -> npt.NDArray[np.uint64]:
    """64-bit hashes (SipHash with a fixed key: the same in every process), shape (n,)."""
    values = strings.to_numpy(zero_copy_only=False).astype(object)
    return np.asarray(pd.util.hash_array(values, categorize=False), dtype=np.uint64)


def as_strings(column: pa.Array) -> pa.Array:
    """Scalars as text, one way for all formats: 1 and 1.0 are "1", true is "True", NaN is null.

    Raises:
        TypeError: for nested values.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_strings(column.dictionary_decode())
    if pa.types.is_boolean(kind):
        return pc.if_else(column, pa.scalar("True", _STRING), pa.scalar("False", _STRING))
    if pa.types.is_floating(kind):
        return _float_strings(column.cast(pa.float64()))
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise TypeError(str(kind))
    return column.cast(_STRING)


def _float_strings(column: pa.Array) -> pa.Array:
    column = pc.if_else(pc.is_nan(column), None, column)
    # Beyond 2^53 a float no longer tells neighbouring integers apart.
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
    integers = pc.if_else(whole, column, None).cast(pa.int64()).cast(_STRING)
    return pc.coalesce(integers, column.cast(_STRING))


def column_strings(chunk: Chunk, name: str) -> pa.Array:
    """One column as text.

    Raises:
        UserError: when it holds lists or other nested values.
    """
    try:
        return as_strings(chunk.rows.column(name))
    except TypeError as error:
        raise UserError(
            f"{chunk.file}: column {name!r} holds {error}, expected text or numbers"
        ) from None


def texts(chunk: Chunk, config: IngestConfig) -> pa.Array:
    """The joined text columns, large_string, shape (n,); null where all of them are missing."""
    columns = [_text_column(chunk, name) for name in config.text]
    if len(columns) == 1:
        return columns[0]
    filled = [pc.if_else(_is_blank(c), pa.scalar(None, _STRING), c) for c in columns]
    joined = pc.binary_join_element_wise(
        *filled, pa.scalar(config.joiner, _STRING), null_handling="skip"
    )
    missing = [pc.is_null(c) for c in columns]
    all_missing = missing[0]
    for mask in missing[1:]:
        all_missing = pc.and_(all_missing, mask)
    return pc.if_else(all_missing, pa.scalar(None, _STRING), joined)


def _text_column(chunk: Chunk, name: str) -> pa.Array:
    column = column_strings(chunk, name)
    return pc.if_else(pc.is_in(column, _MISSING), pa.scalar(None, _STRING), column)


def _is_blank(column: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(column)), 0), True)


def is_blank(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Which texts are missing, empty or only space, shape (n,)."""
    return as_mask(_is_blank(column))


def as_mask(column: pa.Array) -> npt.NDArray[np.bool_]:
    """A boolean Arrow array without nulls as numpy, shape (n,)."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def ids(chunk: Chunk, config: IngestConfig, first: int) -> pa.Array:
    """Row ids, string, shape (n,): the id column, or numbers from ``first`` on.

    Raises:
        UserError: for a missing id.
    """
    if config.id is None:
        prefix = f"{chunk.split}-" if chunk.split else ""
        numbers = range(first, first + chunk.rows.num_rows)
        return pa.array([f"{prefix}{n}" for n in numbers], pa.string())
    column = column_strings(chunk, config.id)
    blank = is_blank(column)
    if blank.any():
        raise UserError(
            f"{chunk.where(int(blank.argmax()))}, column {config.id!r}: no id; fill it in, or "
            "leave `id` unset to number the rows"
        )
    return column.cast(pa.string())


def split_codes(chunk: Chunk, config: IngestConfig) -> npt.NDArray[np.int8]:
    """Position of each row's split in ``SPLITS``, or ``UNASSIGNED``; shape (n,).

    Raises:
        UserError: for a value of the split column that is no split.
    """
    rows = chunk.rows.num_rows
    if chunk.split:
        return np.full(rows, SPLITS.index(chunk.split), np.int8)
    if config.split.column is None:
        return np.full(rows, UNASSIGNED, np.int8)
    encoded = column_strings(chunk, config.split.column).dictionary_encode(null_encoding="encode")
    codes = [_split_code(value) for value in encoded.dictionary.to_pylist()]
    of_rows: npt.NDArray[np.int8] = np.asarray(codes, np.int8)[encoded.indices.to_numpy()]
    if (of_rows == UNASSIGNED).any():
        i = int((of_rows == UNASSIGNED).argmax())
        value = encoded[i].as_py()
        raise UserError(
            f"{chunk.where(i)}, column {config.split.column!r}: {value!r} is no split; expected "
            f"{', '.join(SPLITS)}"
        )
    return of_rows


def _split_code(value: str | None) -> int:
    split = canonical_split(value) if value else None
    return SPLITS.index(split) if split else UNASSIGNED


def groups(chunk: Chunk, config: IngestConfig) -> npt.NDArray[np.uint64]:
    """A hash of each row's group, shape (n,); shape (0,) without groups.

    Raises:
        UserError: for a row without a group.
    """
    if config.split.group is None:
        return np.zeros(0, np.uint64)
    column = column_strings(chunk, config.split.group)
    blank = is_blank(column)
    if blank.any():
        raise UserError(
            f"{chunk.where(int(blank.argmax()))}, column {config.split.group!r}: no group; give "
            "each row one (its own id, when it stands alone)"
        )
    return hashes(column)
