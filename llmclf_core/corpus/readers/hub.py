"""Hugging Face datasets: by id from the hub or its cache, or a ``save_to_disk`` directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from llmclf_core.corpus.readers.base import (
    Chunk,
    Part,
    needed_columns,
    require_columns,
    shorten,
    slices,
)
from llmclf_core.corpus.readers.columnar import explain_corruption
from llmclf_core.corpus.splitnames import canonical_split
from llmclf_core.errors import UserError

Data = TypeVar("Data")


def read_saved(part: Part) -> Iterator[Chunk]:
    """A directory written by ``save_to_disk``: one dataset, or several as splits."""
    path = part.paths[0]
    with explain_corruption(path):
        data = _or_explain(lambda: datasets.load_from_disk(str(path)), f"{path} cannot be read")
        yield from _splits(data, part)


def read_hub(part: Part) -> Iterator[Chunk]:
    """A dataset on the hub, or its copy in the local cache; code in it is never run."""
    config = part.config
    what = (
        f"no file or directory {part.place!r} here, and the Hugging Face dataset of that name "
        "cannot be had (no network and not in the cache, a private or misspelt name, or a wrong "
        "`revision` or `subset`)"
    )
    data = _or_explain(
        lambda: datasets.load_dataset(part.place, config.subset, revision=config.revision), what
    )
    _note_revision(data, part)
    yield from _splits(data, part)


def _or_explain(load: Callable[[], Data], what: str) -> Data:
    try:
        return load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{what}: {str(error).splitlines()[0]}") from None


def _note_revision(data: datasets.DatasetDict, part: Part) -> None:
    checksums = next(iter(data.values())).info.download_checksums or {}
    commits = {m[1] for url in checksums if (m := re.search(r"@([0-9a-f]{40})/", url))}
    part.commit.extend(sorted(commits))


def _splits(data: datasets.Dataset | datasets.DatasetDict, part: Part) -> Iterator[Chunk]:
    if isinstance(data, datasets.Dataset):
        yield from _chunks(data, part.place, part.split, part)
        return
    known = {name: split for name in data if (split := canonical_split(name))}
    for name in sorted(data.keys() - known.keys()):
        part.warnings.append(
            f"{part.place}: split {name!r} is none of train, validation, test; it was left out"
        )
    if part.split and len(known) > 1:
        known = {name: split for name, split in known.items() if split == part.split}
    if not known:
        raise UserError(
            f"{part.place} has no {part.split or 'train'} split, only {shorten([*data])}"
        )
    for name, split in known.items():
        yield from _chunks(data[name], f"{part.place} ({name})", part.split or split, part)


def _chunks(data: datasets.Dataset, file: str, split: str | None, part: Part) -> Iterator[Chunk]:
    require_columns(data.column_names, part.config, file)
    limit = min(part.config.limit or len(data), len(data))
    data = data.select(range(limit)).select_columns(needed_columns(part.config))
    first = 1
    for table in data.with_format("arrow").iter(1024):
        for rows in slices(_named_labels(table, data.features)):
            yield Chunk(rows, file, first, split)
            first += rows.num_rows


def _named_labels(table: pa.Table, features: datasets.Features) -> pa.Table:
    """Put the names in place of the numbers that ``ClassLabel`` columns hold."""
    for i, name in enumerate(table.column_names):
        column, feature = table.column(i).combine_chunks(), features[name]
        if isinstance(feature, datasets.ClassLabel):
            table = table.set_column(i, name, _names(column, feature))
        elif isinstance(inner := getattr(feature, "feature", None), datasets.ClassLabel):
            named = pa.LargeListArray.from_arrays(
                column.offsets.cast(pa.int64()), _names(column.values, inner)
            )
            table = table.set_column(i, name, named)
    return table


def _names(numbers: pa.Array, feature: datasets.ClassLabel) -> pa.Array:
    # -1 is the hub's mark of a missing label.
    known = pc.if_else(pc.less(numbers, 0), None, numbers)
    return pa.array(feature.names, pa.large_string()).take(known)
