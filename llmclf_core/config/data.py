"""Settings of the data: where it comes from, its labels, its splits, its duplicates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from llmclf_core.config.sections import Fraction, PositiveInt, Section

SourceFormat = Literal[
    "auto", "csv", "tsv", "jsonl", "parquet", "arrow", "hub", "saved", "folder", "wipo", "hupd"
]


class LabelColumns(Section):
    """Where a row's labels stand in the source."""

    columns: list[str] = Field(default=["label"], min_length=1)
    """One column, or with ``layout: indicators`` the 0/1 columns (their names are the labels)."""
    layout: Literal["column", "list", "delimited", "indicators"] = "column"
    """``column``: one label; ``list``: a list of labels; ``delimited``: labels in one string;
    ``indicators``: one 0/1 column a label."""
    delimiter: str = Field(default=";", min_length=1)
    """Separates labels with ``layout: delimited``; spaces around a label are dropped."""
    task: Literal["single", "multi"] = "single"
    """``single``: exactly one label a text. ``multi``: any number of labels a text."""
    names: list[str] | None = None
    """The allowed labels in order. Unset: those found in the data, sorted."""
    max_labels: PositiveInt = 1000
    """More distinct labels than this are refused: the label column is probably an id column."""

    @model_validator(mode="after")
    def _one_column(self) -> LabelColumns:
        if self.layout != "indicators" and len(self.columns) != 1:
            raise ValueError(f"layout {self.layout!r} takes exactly one label column")
        return self


class SplitConfig(Section):
    """How rows are divided when the source does not do so itself."""

    validation: Fraction = 0.1
    """Share of the rows for early stopping, calibration and thresholds."""
    test: Fraction = 0.2
    """Share of the rows kept for the final figures."""
    column: str | None = None
    """Column that already names the split (``train``, ``validation``, ``test``)."""
    group: str | None = None
    """Rows with the same value never straddle splits (for patents: the family)."""
    train_rows_per_label: PositiveInt | None = None
    """Keep at most this many training rows of each label, drawn by ``seed``: a quick trial, or a
    learning curve. Validation and test stay as they are. Unset: all."""
    seed: int = 13
    """Seed of the division; the training seed does not change it."""

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1: no rows are left to train on")
        return self


class DuplicateConfig(Section):
    """Detection of rows that say the same thing, so that no test row leaks into training."""

    near: bool = True
    """Also look for near duplicates (MinHash), not only for equal texts."""
    threshold: float = Field(default=0.8, gt=0.0, le=1.0)
    """Estimated Jaccard similarity of word shingles from which two texts are near duplicates."""
    shingle: PositiveInt = 3
    """Words in a shingle."""
    permutations: PositiveInt = 128
    """Hash functions of a MinHash signature; more is more exact and slower."""


class IngestConfig(Section):
    """Read, validate, deduplicate and split a labelled text collection."""

    source: str | dict[str, str]
    """A file, a directory or a Hugging Face dataset id; or one for each split
    (``{train: a.csv, test: b.csv}``)."""
    format: SourceFormat = "auto"
    """``auto`` goes by file extension and directory content."""
    revision: str | None = None
    """Git revision of a Hugging Face dataset."""
    subset: str | None = None
    """Configuration name of a Hugging Face dataset."""
    text: list[str] = Field(default=["text"], min_length=1)
    """Columns joined to the text, in this order; empty ones are left out."""
    joiner: str = "\n\n"
    """Stands between joined columns."""
    id: str | None = None
    """Column with a unique row id. Unset: the row's number."""
    labels: LabelColumns = LabelColumns()
    """The label columns."""
    split: SplitConfig = SplitConfig()
    """The division into train, validation and test."""
    duplicates: DuplicateConfig = DuplicateConfig()
    """Duplicate detection."""
    encoding: str = "utf-8"
    """Character encoding of text files."""
    bad_bytes: Literal["error", "replace"] = "error"
    """Bytes that are not valid in ``encoding``: refuse, or replace by U+FFFD and report."""
    bad_rows: Literal["error", "drop"] = "error"
    """Rows with empty text, no label (single-label) or too much text: refuse, or drop and
    report."""
    max_chars: PositiveInt = 1_000_000
    """A longer text is a bad row."""
    min_rows_per_label: PositiveInt = 2
    """A label with fewer rows is refused: it cannot be both trained and tested."""
    limit: PositiveInt | None = None
    """Read only this many rows of each source."""
