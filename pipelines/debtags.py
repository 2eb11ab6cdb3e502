"""A multi-label corpus that any Debian system can make: package descriptions and their debtags.

Descriptions come from Debian's own index, tags from the volunteers of the debtags project. A tag
that is missing does not mean that it would be wrong. The index changes with every update of the
suite, so a corpus is made once and kept.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmclf_core.errors import UserError

log = logging.getLogger(__name__)

FACETS = ("use::", "works-with::", "field::")
MIN_ROWS = 50
UNDECIDED = "TODO"
"""How debtags itself ends the tag of a package that nobody has sorted into a facet yet
(``field::TODO``); it says nothing of the package."""
CUTS = {"tags14": 14, "tags58": 58}
"""File name to number of labels: the most frequent ones."""
_HELPER = "/usr/lib/apt/apt-helper"

Stanza = Mapping[str, str]


def make(output: Path) -> None:
    """Write ``tags14.jsonl`` and ``tags58.jsonl``: ``id``, ``text`` and ``labels`` of each package.

    One binary package a source package, since those of one source say much the same.

    Args:
        output: an existing directory.

    Raises:
        UserError: when this is no Debian system, or its index cannot be read.
    """
    if shutil.which("apt-get") is None or not Path(_HELPER).exists():
        raise UserError("the Debian tags corpus is made from Debian's package index: needs apt-get")
    with tempfile.TemporaryDirectory(prefix="llmclf-") as scratch:
        lists = _update(Path(scratch))
        packages = _tagged(lists)
    for name, n in CUTS.items():
        _write(packages, n, output / f"{name}.jsonl")


def _update(scratch: Path) -> Path:
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    options = [f"Dir::State::Lists={lists}", f"Dir::Cache={scratch}", "Acquire::Languages=en"]
    command = ["apt-get", "update", "-q", *(x for option in options for x in ("-o", option))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"cannot read Debian's package index: {reason}; check apt's sources")
    return lists


def _tagged(lists: Path) -> list[tuple[str, str, set[str]]]:
    """(package, description, tags) of every tagged package, one a source."""
    descriptions = {
        stanza["Description-md5"]: stanza["Description-en"]
        for stanza in _stanzas(lists, "*Translation-en*")
        if "Description-en" in stanza
    }
    found: dict[str, tuple[str, str, set[str]]] = {}
    for stanza in _stanzas(lists, "*Packages*"):
        tags = {t for t in _tags(stanza) if t.startswith(FACETS) and not t.endswith(UNDECIDED)}
        text = descriptions.get(stanza.get("Description-md5", ""))
        source = stanza.get("Source", stanza["Package"]).split(" ")[0]
        if tags and text and source not in found:
            found[source] = (stanza["Package"], text, tags)
    if not found:
        raise UserError(f"no tagged package in Debian's index ({lists}); check apt's sources")
    return list(found.values())


def _tags(stanza: Stanza) -> list[str]:
    return [t.strip() for t in stanza.get("Tag", "").replace("\n", " ").split(",") if t.strip()]


def _write(packages: list[tuple[str, str, set[str]]], n_labels: int, output: Path) -> None:
    counts = Counter(tag for _, _, tags in packages for tag in tags)
    common = [tag for tag, count in counts.most_common(n_labels) if count >= MIN_ROWS]
    kept = [
        {"id": name, "text": text, "labels": sorted(tags & set(common))}
        for name, text, tags in sorted(packages)
        if tags & set(common)
    ]
    with output.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in kept)
    log.info("%s: %d packages, %d labels", output.name, len(kept), len(common))


def _stanzas(lists: Path, pattern: str) -> Iterator[Stanza]:
    for file in sorted(lists.glob(pattern)):
        text = subprocess.run(
            [_HELPER, "cat-file", str(file)], capture_output=True, text=True, check=True
        ).stdout
        yield from map(_fields, filter(None, text.split("\n\n")))


def _fields(stanza: str) -> Stanza:
    """Fields of a control-file paragraph (Debian Policy 5.1); ``.`` alone is an empty line."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith((" ", "\t")):
            fields[name] += "\n" + ("" if line.strip() == "." else line.strip())
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields
