"""From label columns to label ids: four layouts, one result."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llmclf_core.config import LabelColumns
from llmclf_core.corpus.fields import as_strings, column_strings
from llmclf_core.corpus.readers import Chunk
from llmclf_core.corpus.readers.base import shorten
from llmclf_core.errors import UserError

_STRING = pa.large_string()
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class Pairs:
    """Which rows have which labels.

    Attributes:
        rows: row positions, ascending, int64, shape (n_pairs,).
        labels: label names, or ids once encoded; same shape.
    """

    rows: npt.NDArray[np.int64]
    labels: Any


class LabelReader:
    """Reads labels chunk by chunk and numbers them: as in ``names``, else by first appearance.

    Attributes:
        ids: label name to id.
        fixed: whether the settings name the labels, so that no others are allowed.
    """

    def __init__(self, config: LabelColumns) -> None:
        self.config = config
        names = config.names
        if config.layout == "indicators":
            names = _indicator_names(config)
        elif config.layout == "delimited":
            _check_delimiter(names or [], config.delimiter)
        self.fixed = names is not None
        self.ids = {name: i for i, name in enumerate(names or [])}

    def read(self, chunk: Chunk) -> Pairs:
        """The (row, label id) pairs of a chunk, each once, ordered by row.

        Raises:
            UserError: for an unknown label, a value that is no indicator, a column of the wrong
                type, or more labels than ``max_labels``.
        """
        pairs = getattr(self, f"_{self.config.layout}")(chunk)
        encoded = pairs.labels.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        unknown = [name for name in names if name not in self.ids]
        if unknown and self.fixed:
            self._refuse(chunk, pairs, unknown[0])
        for name in unknown:
            self.ids[name] = len(self.ids)
        self._check_count(chunk)
        of_names = np.asarray([self.ids[name] for name in names], np.int64)
        keys = pairs.rows * len(self.ids) + of_names[encoded.indices.to_numpy()]
        rows, labels = np.divmod(np.unique(keys), max(1, len(self.ids)))
        return Pairs(rows, labels.astype(np.int32))

    def _refuse(self, chunk: Chunk, pairs: Pairs, name: str) -> None:
        row = int(pairs.rows[pc.index(pairs.labels, pa.scalar(name, _STRING)).as_py()])
        raise UserError(
            f"{chunk.where(row)}, column {self.config.columns[0]!r}: unknown label {name!r}; "
            f"`labels.names` has {shorten(list(self.ids))}"
        )

    def _check_count(self, chunk: Chunk) -> None:
        if len(self.ids) > self.config.max_labels:
            raise UserError(
                f"{chunk.file}: column {self.config.columns[0]!r} has more than "
                f"{self.config.max_labels} different labels, such as "
                f"{shorten(list(self.ids)[:3])}: is it an id or a text column? Set "
                "`labels.columns`, or raise `labels.max_labels`"
            )

    def _column(self, chunk: Chunk) -> Pairs:
        return _pairs(column_strings(chunk, self.config.columns[0]), None)

    def _delimited(self, chunk: Chunk) -> Pairs:
        column = column_strings(chunk, self.config.columns[0])
        split = pc.split_pattern(pc.fill_null(column, ""), self.config.delimiter)
        return _pairs(split.flatten(), pc.list_parent_indices(split))

    def _list(self, chunk: Chunk) -> Pairs:
        name = self.config.columns[0]
        column = chunk.rows.column(name)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = _parse_lists(column, name, chunk)
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise UserError(
                f"{chunk.file}: column {name!r} holds {column.type}, not lists; set "
                "`labels.layout` to column or delimited"
            )
        return _pairs(as_strings(column.flatten()), pc.list_parent_indices(column))

    def _indicators(self, chunk: Chunk) -> Pairs:
        columns = self.config.columns
        flags = np.stack([self._flags(chunk, name) for name in columns], axis=1)
        rows, positions = np.nonzero(flags)
        return Pairs(rows, pa.array(columns, _STRING).take(pa.array(positions)))

    def _flags(self, chunk: Chunk, name: str) -> npt.NDArray[np.int8]:
        column = pc.utf8_trim_whitespace(column_strings(chunk, name))
        encoded = column.dictionary_encode(null_encoding="encode")
        flags = np.asarray([_FLAGS.get(v, -1) for v in encoded.dictionary.to_pylist()], np.int8)
        of_rows: npt.NDArray[np.int8] = flags[encoded.indices.to_numpy()]
        if (of_rows < 0).any():
            row = int((of_rows < 0).argmax())
            raise UserError(
                f"{chunk.where(row)}, column {name!r}: {encoded[row].as_py()!r} is neither 0 nor "
                "1; with `layout: indicators` every label column holds 0 or 1"
            )
        return of_rows


def _indicator_names(config: LabelColumns) -> list[str]:
    names = config.names or config.columns
    if len(set(config.columns)) < len(config.columns):
        raise UserError(f"labels.columns names a column twice: {shorten(config.columns)}")
    if set(names) != set(config.columns):
        raise UserError(
            "labels.names must be the label columns, in any order: "
            f"{shorten(sorted(set(names) ^ set(config.columns)))} is in one of them only"
        )
    return names


def _check_delimiter(names: list[str], delimiter: str) -> None:
    if inside := [name for name in names if delimiter in name]:
        raise UserError(
            f"label {inside[0]!r} holds the delimiter {delimiter!r}; choose another "
            "`labels.delimiter`"
        )


def _pairs(names: pa.Array, parents: pa.Array | None) -> Pairs:
    """Trim the names and drop empty ones; ``parents`` holds each name's row."""
    names = pc.utf8_trim_whitespace(names)
    kept = pc.fill_null(pc.greater(pc.binary_length(names), 0), False)
    rows = np.arange(len(names)) if parents is None else parents.to_numpy()
    mask = kept.to_numpy(zero_copy_only=False)
    return Pairs(rows[mask].astype(np.int64), names.filter(kept).cast(_STRING))


def _parse_lists(column: pa.Array, name: str, chunk: Chunk) -> pa.Array:
    """Lists that a text format holds as JSON, or as pandas writes them."""
    lists = []
    for i, cell in enumerate(column.to_pylist()):
        value = _parse_list(cell or "[]")
        if value is None:
            raise UserError(
                f"{chunk.where(i)}, column {name!r}: {cell[:80]!r} is not a list such as "
                '["a", "b"]; set `labels.layout` to column or delimited'
            )
        lists.append(value)
    return pa.array(lists, pa.large_list(_STRING))


def _parse_list(cell: str) -> list[str] | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(cell)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, list):
            return [str(item) for item in value]
    return None
