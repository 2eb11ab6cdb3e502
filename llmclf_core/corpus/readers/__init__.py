"""One reader a source format; :func:`read` picks it."""

from __future__ import annotations

from collections.abc import Iterator

from llmclf_core.corpus.readers import columnar, delimited, folder, hub, jsonlines, patents
from llmclf_core.corpus.readers.base import Chunk, Part, Reader

__all__ = ["Chunk", "Part", "read"]

READERS: dict[str, Reader] = {
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "jsonl": jsonlines.read,
    "parquet": columnar.read_parquet,
    "arrow": columnar.read_arrow,
    "saved": hub.read_saved,
    "hub": hub.read_hub,
    "folder": folder.read,
    "wipo": patents.read_wipo,
    "hupd": patents.read_hupd,
}


def read(part: Part) -> Iterator[Chunk]:
    """Stream the rows of one part of the source, at most ``part.config.limit`` of them.

    Raises:
        UserError: for anything in the file that the user has to mend.
    """
    chunks = READERS[part.format](part)
    left = part.config.limit
    if left is None or part.format in ("saved", "hub"):  # these limit each split themselves
        yield from chunks
        return
    for chunk in chunks:
        yield chunk.head(left)
        left -= min(left, chunk.rows.num_rows)
        if left == 0:
            return
