"""What ``source`` names: which files, in which format, for which split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from llmclf_core.artifacts import TRAIN
from llmclf_core.config import IngestConfig
from llmclf_core.corpus.readers.base import Part, shorten
from llmclf_core.corpus.splitnames import ALIASES, canonical_split
from llmclf_core.errors import UserError
from llmclf_core.paths import expand

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xml": "wipo",
    ".json": "hupd",
    ".txt": "folder",
}
_SAVED_MARKS = ("dataset_dict.json", "state.json")
HUB_ID = re.compile(r"^\w[\w.-]*(/\w[\w.-]*)?$")
_TREES = ("folder", "wipo", "hupd")


def parts(config: IngestConfig) -> list[Part]:
    """Resolve ``config.source`` to what the readers read, in a fixed order.

    Raises:
        UserError: for a missing or empty place, an unknown split or an unknown format.
    """
    if isinstance(config.source, str):
        return _place_parts(config.source, None, config)
    splits = _splits(config.source)
    return [p for split, place in splits.items() for p in _place_parts(place, split, config)]


def _splits(source: Mapping[str, str]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name, place in source.items():
        split = canonical_split(name)
        if split is None:
            raise UserError(f"source: {name!r} is no split; use {', '.join(sorted(ALIASES))}")
        if split in splits:
            raise UserError(f"source: the {split} split is given twice")
        splits[split] = place
    if TRAIN not in splits:
        raise UserError(f"source: a train split is needed beside {', '.join(splits) or 'nothing'}")
    return splits


def _place_parts(place: str, split: str | None, config: IngestConfig) -> list[Part]:
    path = expand(place)
    if config.format == "hub" or (config.format == "auto" and is_hub_id(place)):
        return [Part(place, (), "hub", split, config)]
    if not path.exists():
        raise UserError(f"{place} does not exist; check `source` (a path relative to {Path.cwd()})")
    kind = _detect(path) if config.format == "auto" else config.format
    if kind in _TREES and path.is_dir():
        return [
            Part(str(root), (root,), kind, split or inside, config)
            for inside, root in _split_folders(path)
        ]
    return [Part(place, _files(path, kind), kind, split, config)]


def is_hub_id(place: str) -> bool:
    """Whether a source names a data set on the hub: nothing of that name is here, nor is it a file
    of a known kind."""
    path = expand(place)
    return not path.exists() and path.suffix not in _SUFFIXES and bool(HUB_ID.match(place))


def _detect(path: Path) -> str:
    if path.is_file():
        kind = _SUFFIXES.get(path.suffix.lower(), "folder")
        if kind == "folder":
            raise UserError(f"{path}: cannot tell the format from the name; set `format`")
        return kind
    if any((path / mark).exists() for mark in _SAVED_MARKS):
        return "saved"
    suffixes = {f.suffix.lower() for f in path.rglob("*") if not f.name.startswith(".")}
    kinds = sorted({_SUFFIXES[suffix] for suffix in suffixes & _SUFFIXES.keys()})
    if not kinds:
        raise UserError(f"{path} holds no file of a known kind ({shorten(list(_SUFFIXES))})")
    if len(kinds) > 1:
        raise UserError(f"{path} holds several kinds of files; set `format`: {' or '.join(kinds)}")
    return kinds[0]


def _split_folders(root: Path) -> list[tuple[str | None, Path]]:
    """The split folders below ``root``, or ``root`` itself when its folders are no splits."""
    folders = sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    splits = {canonical_split(d.name): d for d in folders}
    if not folders or None in splits or TRAIN not in splits or len(splits) < len(folders):
        return [(None, root)]
    return list(splits.items())


def _files(path: Path, kind: str) -> tuple[Path, ...]:
    if path.is_file() or kind == "saved":
        return (path,)
    suffixes = {suffix for suffix, format in _SUFFIXES.items() if format == kind}
    files = tuple(f for f in sorted(path.rglob("*")) if f.suffix.lower() in suffixes)
    if not files:
        raise UserError(f"{path} holds no {kind} file ({', '.join(sorted(suffixes))})")
    return files
