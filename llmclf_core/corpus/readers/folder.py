"""A folder of text files by class: ``<class>/<name>.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

from llmclf_core.corpus.readers.base import Chunk, Part
from llmclf_core.corpus.readers.records import Row, chunks
from llmclf_core.corpus.readers.text import whole


def read(part: Part) -> Iterator[Chunk]:
    """One row a file, with the columns ``text``, ``label`` (the folder) and ``path``.

    With ``limit`` the classes take turns, so that a few rows still show all of them.
    """
    root = part.paths[0]
    classes = [d for d in sorted(root.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    files = [sorted(d.rglob("*.txt")) for d in classes]
    ordered = zip_longest(*files) if part.config.limit else files
    rows = (_row(file, root, part) for file in chain.from_iterable(ordered) if file)
    return chunks(rows, part, str(root))


def _row(file: Path, root: Path, part: Part) -> Row:
    inside = file.relative_to(root)
    values = {"text": whole(file, part), "label": inside.parts[0], "path": inside.as_posix()}
    return Row(values, str(file))
