"""What can only be checked once all rows are there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llmclf_core.artifacts import SPLITS, TRAIN
from llmclf_core.config import IngestConfig
from llmclf_core.corpus.collect import Collected
from llmclf_core.corpus.readers.base import shorten
from llmclf_core.corpus.rows import Mask, Rows
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace


def refuse_duplicate_ids(collected: Collected, config: IngestConfig) -> None:
    """Ids from a column have to be unique.

    Raises:
        UserError: naming the first repeated id and two of its rows.
    """
    if config.id is None:
        return
    rows = collected.rows
    order = np.argsort(rows.ids, kind="stable")
    same = np.flatnonzero(np.diff(rows.ids[order]) == 0)
    if len(same) == 0:
        return
    first, second = order[same[0]], order[same[0] + 1]
    name = id_of(collected, int(first))
    raise UserError(
        f"column {config.id!r}: id {name!r} is both in {rows.where(first)} and {rows.where(second)}"
        f"; {len(same)} rows repeat an id. Make ids unique, or leave `id` unset to number the rows"
    )


def id_of(collected: Collected, row: int) -> str:
    """One row's id, looked up in the spool."""
    for first, batch in collected.spool.read():
        if row < first + batch.num_rows:
            return str(batch.column("id")[row - first].as_py())
    raise IndexError(row)


def refuse_rare_labels(rows: Rows, labels: LabelSpace, minimum: int) -> None:
    """Every label needs ``minimum`` rows.

    Raises:
        UserError: naming the labels that have fewer, and a row of the first.
    """
    counts = rows.labels.sum(axis=0)
    rare = np.flatnonzero(counts < minimum)
    if len(rare) == 0:
        return
    named = shorten([f"{labels.names[i]!r} ({counts[i]})" for i in rare], 10)
    of_first = np.flatnonzero(rows.labels[:, [rare[0]]].toarray())
    place = f" (in {rows.where(int(of_first[0]))})" if len(of_first) else ""
    raise UserError(
        f"labels with fewer than {minimum} rows: {named}{place}; add rows, merge or remove these "
        "labels, or lower `min_rows_per_label`"
    )


def refuse_untrained_labels(rows: Rows, labels: LabelSpace, kept: Mask, why: str) -> None:
    """Every label has to occur in the training split.

    Args:
        rows: all rows, their splits assigned.
        labels: the label space.
        kept: which rows are kept, bool, shape (n,).
        why: completes the message.

    Raises:
        UserError: naming the labels without training rows.
    """
    missing = missing_labels(rows, labels, kept)[TRAIN]
    if missing:
        raise UserError(f"the train split has no row of {shorten(missing, 10)}: {why}")


def missing_labels(rows: Rows, labels: LabelSpace, kept: Mask) -> dict[str, list[str]]:
    """The labels without a kept row, for each split."""
    counts = label_counts(rows, kept)
    return {
        split: [name for name, count in zip(labels.names, counts[i], strict=True) if not count]
        for i, split in enumerate(SPLITS)
    }


def label_counts(rows: Rows, kept: Mask) -> npt.NDArray[np.int64]:
    """Kept rows of each label in each split, int64, shape (3, n_labels)."""
    return np.stack(
        [
            rows.labels[kept & (rows.splits == code)].sum(axis=0, dtype=np.int64)
            for code in range(len(SPLITS))
        ]
    )
