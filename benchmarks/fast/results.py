"""Result files, which of them still hold, and the summary and the table made from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.fast.turns import ROOT
from benchmarks.fast.work import Case, Settings
from llmclf_core.files import write_json
from llmclf_core.paths import fingerprint

MEASURED = (
    "benchmarks/fast",
    "benchmarks/reference",
    "llmclf_core/approaches",
    "llmclf_core/corpus",
    "llmclf_core/models",
    "llmclf_core/steps",
    "llmclf_core/tokens",
    "llmclf_core/training",
)
"""Code that decides a figure: a result holds as long as it stays as it is."""
BEGIN, END = "<!-- fast: begin -->", "<!-- fast: end -->"

Result = Mapping[str, Any]


def key_of(case: Case, settings: Settings, root: Path = ROOT) -> str:
    """Of the case's size and of the measured code."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return fingerprint(case.id, asdict(settings), digest.hexdigest())


class Results:
    """Results in ``<root>/fast``, and their summary in ``<root>/summary.json``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, case: Case) -> Result | None:
        """What was measured last, or None."""
        file = self._file(case)
        return dict(json.loads(file.read_text("utf-8"))) if file.exists() else None

    def holds(self, case: Case, key: str) -> bool:
        """Whether it was measured with this size and this code."""
        found = self.read(case)
        return found is not None and found["key"] == key

    def write(self, case: Case, measured: Result, **more: Any) -> None:
        """Keep what was measured, with what the case says of it."""
        told = {"id": case.id, "title": case.title, "unit": case.unit, "target": case.target}
        self._file(case).parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file(case), told | dict(measured) | more)

    def write_profile(self, case: Case, measured: Result) -> None:
        """Keep where our side's time goes."""
        file = self._profile(case)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"id": case.id} | dict(measured))

    def profiles(self, cases: Sequence[Case]) -> dict[str, Result]:
        """What there is, by id."""
        files = {case.id: self._profile(case) for case in cases}
        return {
            id_: json.loads(file.read_text("utf-8")) for id_, file in files.items() if file.exists()
        }

    def all(self, cases: Sequence[Case]) -> dict[str, Result]:
        """What there is, by id, in the cases' order."""
        found = {case.id: self.read(case) for case in cases}
        return {id_: result for id_, result in found.items() if result is not None}

    def summarise(self, cases: Sequence[Case]) -> None:
        """Write the summary anew."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.root / "summary.json", summary(self.all(cases)))

    def _file(self, case: Case) -> Path:
        return self.root / "fast" / f"{case.id}.json"

    def _profile(self, case: Case) -> Path:
        return self.root / "fast" / "profiles" / f"{case.id}.json"


def summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """``value``, ``low``, ``high``, ``target``, ``unit`` and ``command`` of each id."""
    names = ("value", "low", "high", "target", "unit", "command")
    return {id_: {name: result[name] for name in names} for id_, result in results.items()}


def table(cases: Sequence[Case], results: Mapping[str, Result]) -> Iterator[str]:
    """Lines of Markdown: a row a figure, then the machines."""
    yield "| figure | value (range) | target | reached | size |"
    yield "| --- | --- | --- | --- | --- |"
    for case in cases:
        sign = "≤" if case.lower_is_better else "≥"
        name = f"{case.title}: `{case.id}`"
        target = f"{sign} {case.target:g} {case.unit}"
        if case.id in results:
            yield f"| {name} | {_value(results[case.id])} | {target} | {_told(case, results)} |"
        elif not case.stand_in:
            yield f"| {name} | not measured yet | {target} | | |"
    yield ""
    yield from _machines(results)


def _value(result: Result) -> str:
    return f"{result['value']:.2f} ({result['low']:.2f}–{result['high']:.2f})"


def _told(case: Case, results: Mapping[str, Result]) -> str:
    result = results[case.id]
    settings = result["settings"]
    reached = "yes" if case.met(result["value"]) else "no"
    rows = f"{settings['batch']} rows, {settings['max_length']} tokens"
    if settings["corpus"] == "sentences":
        rows = f"{settings['train']:,} texts, {settings['max_length']} tokens"
    return f"{reached} | {rows}, {settings['precision']}"


def _machines(results: Mapping[str, Result]) -> Iterator[str]:
    """Ratios are comparable between machines only as far as these are alike."""
    by_machine: dict[str, list[str]] = {}
    for id_, result in results.items():
        made = result["made_on"]
        machine = f"{made['cpu']}, {made['cores']} cores, {made['threads']} of them used"
        by_machine.setdefault(machine, []).append(f"`{id_}`")
    yield from (f"- {machine}: {', '.join(ids)}." for machine, ids in by_machine.items())


def replace_table(text: str, lines: Sequence[str]) -> str:
    """A page with other lines between the markers.

    Raises:
        ValueError: when the page has no markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END} in the page")
    return "\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"])
