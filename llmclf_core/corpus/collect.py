"""The first pass: read every chunk, refuse or drop bad rows, spool the texts, keep the numbers."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llmclf_core.config import IngestConfig
from llmclf_core.corpus import fields
from llmclf_core.corpus.labelcolumns import LabelReader, Pairs
from llmclf_core.corpus.minhash import Signatures, split_words, text_hashes
from llmclf_core.corpus.readers import Chunk, Part, read
from llmclf_core.corpus.rows import Array, Rows, RowsBuilder
from llmclf_core.corpus.spool import Spool
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.progress import Ticker


@dataclass
class Collected:
    """All that was read.

    Attributes:
        rows: the numbers of every accepted row.
        labels: the label space.
        spool: ids and texts of the same rows.
        dropped: reason to number of rows that were not accepted.
        read: rows read.
        signatures: closed-over MinHash state, or None without near-duplicate detection.
    """

    rows: Rows
    labels: LabelSpace
    spool: Spool
    dropped: Counter[str]
    read: int
    signatures: Signatures | None


def collect(parts: list[Part], config: IngestConfig, folder: Path) -> Collected:
    """Read all parts; texts and signatures go to files in ``folder``.

    Raises:
        UserError: for the first thing in the data that the user has to mend.
    """
    collector = Collector(config, folder)
    with closing(collector), Ticker("reading") as progress:
        for part in parts:
            for chunk in read(part):
                collector.add(chunk)
                progress.update(chunk.rows.num_rows)
        return collector.finish()


class Collector:
    """Takes chunks and turns them into :class:`Collected`."""

    def __init__(self, config: IngestConfig, folder: Path) -> None:
        near = config.duplicates.near
        self._config = config
        self._spool = Spool(folder / "texts.arrow")
        self._signatures = (
            Signatures(config.duplicates, folder / "signatures.bin") if near else None
        )
        self._labels = LabelReader(config.labels)
        self._rows = RowsBuilder()
        self._dropped: Counter[str] = Counter()
        self._read: Counter[str | None] = Counter()

    def close(self) -> None:
        """Release the files."""
        self._spool.close()
        if self._signatures:
            self._signatures.close()

    def add(self, chunk: Chunk) -> None:
        """Check a chunk's rows and keep the good ones."""
        config = self._config
        texts, pairs = fields.texts(chunk, config), self._labels.read(chunk)
        ids = fields.ids(chunk, config, self._read[chunk.split] + 1)
        self._read[chunk.split] += chunk.rows.num_rows
        columns: dict[str, Array] = {
            "splits": fields.split_codes(chunk, config),
            "groups": fields.groups(chunk, config),
            "numbers": chunk.first + np.arange(chunk.rows.num_rows),
        }
        good = self._good_rows(chunk, texts, pairs)
        if not good.all():
            ids, texts = ids.filter(pa.array(good)), texts.filter(pa.array(good))
            columns = {name: v[good] if len(v) else v for name, v in columns.items()}
            pairs = _select(pairs, good)
        self._store(chunk.file, ids, texts, pairs, columns)

    def _store(
        self, file: str, ids: pa.Array, texts: pa.Array, pairs: Pairs, columns: dict[str, Array]
    ) -> None:
        words = split_words(texts)
        self._spool.add(ids, texts)
        if self._signatures:
            self._signatures.add(words)
        self._rows.add(
            file,
            pairs,
            ids=fields.hashes(ids),
            texts=text_hashes(words),
            lengths=pc.utf8_length(texts).to_numpy().astype(np.int32),
            **columns,
        )

    def _good_rows(self, chunk: Chunk, texts: pa.Array, pairs: Pairs) -> npt.NDArray[np.bool_]:
        good = np.ones(len(texts), bool)
        labels = np.bincount(pairs.rows, minlength=len(texts))
        if self._config.labels.task == "single":
            _refuse_several(chunk, labels, self._config)
        for problem in _problems(texts, labels, self._config):
            bad = problem.rows & good
            if bad.any() and self._config.bad_rows == "error":
                raise UserError(f"{chunk.where(int(bad.argmax()))}: {problem.message}")
            if bad.any():
                self._dropped[problem.reason] += int(bad.sum())
            good &= ~bad
        return good

    def finish(self) -> Collected:
        """Close the files and number the labels.

        Raises:
            UserError: when no row is left, or there are fewer than two labels.
        """
        self._spool.finish()
        read = self._read.total()
        if len(self._rows) == 0:
            why = f"all {read} were bad: {dict(self._dropped)}" if read else "the source is empty"
            raise UserError(f"no rows to learn from: {why}")
        space, new_ids = _label_space(self._labels, self._config)
        rows = self._rows.finish(new_ids)
        return Collected(rows, space, self._spool, self._dropped, read, self._signatures)


@dataclass(frozen=True)
class _Problem:
    reason: str
    rows: npt.NDArray[np.bool_]
    message: str


def _problems(
    texts: pa.Array, labels: npt.NDArray[np.int64], config: IngestConfig
) -> list[_Problem]:
    columns = ", ".join(map(repr, config.text))
    label_columns = ", ".join(map(repr, config.labels.columns[:5]))
    way_out = "; mend the row, or drop such rows with `bad_rows: drop`"
    missing = fields.as_mask(pc.is_null(texts))
    lengths = pc.fill_null(pc.utf8_length(texts), 0).to_numpy()
    problems = [
        _Problem("missing_text", missing, f"the text ({columns}) is missing (null or NaN)"),
        _Problem("empty_text", fields.is_blank(texts), f"the text ({columns}) is empty"),
        _Problem(
            "too_long",
            lengths > config.max_chars,
            f"the text ({columns}) has more than max_chars = {config.max_chars} characters",
        ),
    ]
    if config.labels.task == "single":
        message = f"no label ({label_columns})"
        problems.append(_Problem("no_label", labels == 0, message))
    return [_Problem(p.reason, p.rows, p.message + way_out) for p in problems]


def _refuse_several(chunk: Chunk, labels: npt.NDArray[np.int64], config: IngestConfig) -> None:
    if (labels > 1).any():
        row = int((labels > 1).argmax())
        raise UserError(
            f"{chunk.where(row)}, column {config.labels.columns[0]!r}: {labels[row]} labels where "
            "`labels.task: single` takes one; set `labels.task: multi`"
        )


def _select(pairs: Pairs, good: npt.NDArray[np.bool_]) -> Pairs:
    kept = good[pairs.rows]
    return Pairs((np.cumsum(good) - 1)[pairs.rows[kept]], pairs.labels[kept])


def _label_space(
    reader: LabelReader, config: IngestConfig
) -> tuple[LabelSpace, npt.NDArray[np.int32]]:
    """The label space, and for each provisional label id its position there."""
    found = list(reader.ids)
    names = found if reader.fixed else sorted(found)
    space = LabelSpace(tuple(names), config.labels.task)
    position = {name: i for i, name in enumerate(names)}
    return space, np.asarray([position[name] for name in found], np.int32)
