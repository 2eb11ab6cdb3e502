"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmclf_core.corpus.readers.base import Chunk, Part
from llmclf_core.corpus.readers.records import Row, chunks
from llmclf_core.corpus.readers.text import lines
from llmclf_core.errors import UserError


def read(part: Part) -> Iterator[Chunk]:
    """Files with one JSON object a line; empty lines are skipped."""
    for path in part.paths:
        yield from chunks(_rows(path, part), part, str(path))


def _rows(path: Path, part: Part) -> Iterator[Row]:
    for number, line in enumerate(lines(path, part), start=1):
        if line.strip():
            yield Row(_object(line, f"{path}, line {number}"), f"{path}, line {number}")


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value
