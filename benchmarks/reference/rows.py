"""Labelled texts, as a plain JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A text and its labels; one when single-label."""

    text: str
    labels: list[str]


@dataclass(frozen=True)
class Rows:
    """A task.

    Attributes:
        labels: all labels, in order.
        train, validation: the rows.
    """

    labels: list[str]
    train: list[Row]
    validation: list[Row]

    @classmethod
    def read(cls, path: Path) -> Rows:
        """A JSON file with these three names; a row has ``text`` and ``labels``."""
        data = json.loads(path.read_text("utf-8"))
        train, validation = ([Row(**row) for row in data[s]] for s in ("train", "validation"))
        return cls(data["labels"], train, validation)
