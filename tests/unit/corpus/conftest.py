"""Small labelled collections, written anew for each test."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmclf_core.artifacts import Corpus
from llmclf_core.config import IngestConfig, parse
from llmclf_core.corpus import ingest

Table = list[dict[str, Any]]


def sentence(seed: object, words: int = 30) -> str:
    """A text that is like no other seed's."""
    rng = random.Random(str(seed))
    return " ".join(f"w{rng.randrange(10**6)}" for _ in range(words))


def table(rows: int = 60, labels: tuple[str, ...] = ("apple", "pear", "plum")) -> Table:
    return [
        {"id": f"r{i}", "text": sentence(i), "label": labels[i % len(labels)]} for i in range(rows)
    ]


def write_csv(path: Path, rows: Table, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Corpus]:
    """Ingest a file, or rows (as CSV), with settings, into ``tmp_path/out``."""

    def _run(data: Any, **settings: Any) -> Corpus:
        if isinstance(data, list):
            data = write_csv(tmp_path / "data.csv", data)
        if isinstance(data, Path):
            data = str(data)
        config = parse(IngestConfig, {"source": data} | settings, "test")
        return ingest(config, tmp_path / "out")

    return _run
