"""What a person sees at the end of a run or a prediction."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from llmclf_core.approaches.base import Classifier
from llmclf_core.evaluation.names import duration, metric_name, percent, title
from llmclf_core.failures import Failure
from pipelines.local import Finished


def show(finished: Finished, runs: Path) -> None:
    """Print the answer, the table of approaches, the registered model, and what to do next."""
    console = Console()
    summary = finished.summary
    console.print(summary["answer"], highlight=False, markup=False)
    console.print(_table(summary, _others(summary, runs)))
    for line in [*_legend(summary), *_missing(summary), *_next_steps(finished, runs)]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _table(summary: dict[str, Any], others: list[dict[str, Any]]) -> Table:
    """Narrow enough for 80 columns; the report and ``summary.json`` have every figure."""
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    compared = f"{metric_name(summary['metric'])} ({percent(summary['confidence'])} interval)"
    table.add_column("approach")
    for heading in (compared, "accuracy", "trained", "train", "texts/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for approach in summary["approaches"]:
        mark = "* " if approach["approach"] == summary["champion"] else ""
        table.add_row(*_row(approach, summary["metric"], mark), style="bold" if mark else None)
    for approach in others:
        table.add_row(*_row(approach, summary["metric"], "earlier: "), style="dim")
    return table


def _row(approach: dict[str, Any], metric: str, mark: str) -> list[str]:
    (low, high), cost = approach["interval"], approach["cost"]
    seconds = cost.get("train_seconds")
    earlier = mark.startswith("earlier")
    return [
        mark + ", ".join([_heading(approach), *(_seeds(approach) if earlier else [])]),
        f"{approach['metrics'][metric]['mean']:.4f} ({low:.3f} – {high:.3f})",
        f"{approach['metrics']['accuracy']['mean']:.4f}",
        _millions(cost.get("trained_parameters")),
        "" if seconds is None else duration(seconds),
        f"{cost['predict_texts_per_second']:,.1f}",
    ]


def _millions(parameters: float | None) -> str:
    return "" if parameters is None else f"{parameters / 1e6:.3g} M"


def _heading(approach: dict[str, Any]) -> str:
    quantization = approach["quantization"]
    return title(approach["approach"]) + (f", {quantization}" if quantization != "none" else "")


def _seeds(approach: dict[str, Any]) -> list[str]:
    seeds = [str(seed) for seed in approach["seeds"] if seed is not None]
    return [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"] if seeds else []


def _legend(summary: dict[str, Any]) -> list[str]:
    bases = dict.fromkeys((a["base"], a["approach"] == "encoder") for a in summary["approaches"])
    named = [f"{'encoder' if e else 'LLM'} {Path(base).name}" for base, e in bases if base]
    rows = f"{summary['test_rows']} test rows; * champion; trained: millions of parameters"
    longest = max((_seeds(a) for a in summary["approaches"]), key=len)
    return ["; ".join([rows, *named, *longest])]


def _others(summary: dict[str, Any], runs: Path, most: int = 3) -> list[dict[str, Any]]:
    """Approaches of the latest earlier runs on the same corpus whose classifiers are not shown."""
    shown = {a["chosen"] for a in summary["approaches"]}
    found: dict[str, dict[str, Any]] = {}
    files = sorted(runs.glob("*/summary.json"), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in files:
        other = json.loads(file.read_text("utf-8"))
        if other["corpus"] == summary["corpus"]:
            for approach in other.get("approaches", []):
                if approach["chosen"] not in shown:
                    found.setdefault(approach["chosen"], approach)
    return list(found.values())[:most]


def _missing(summary: dict[str, Any]) -> list[str]:
    return [f"missing:  {Failure(**item)}" for item in summary["missing"]]


def _next_steps(finished: Finished, runs: Path) -> list[str]:
    summary, registered = finished.summary, finished.summary["registration"]
    aliases = ", ".join(registered["aliases"])
    lines = [f"model:    {registered['name']}, version {registered['version']} ({aliases})"]
    lines += [f"          {reason}" for reason in registered["reasons"]]
    own = [] if runs == Path("runs") else ["--runs", str(runs)]
    store = summary["tracking_uri"]
    ui = [_program("mlflow"), "ui", "--backend-store-uri", store]
    mlflow = shlex.join(ui) if store.startswith("sqlite:") else store
    lines += [
        f"report:   {summary['report']}",
        f"summary:  {finished.directory / 'summary.json'}",
        f"MLflow:   {mlflow}",
        f"classify: {shlex.join([_program('llmclf'), 'predict', *own, 'a text of your own'])}",
        f"took:     {summary['seconds']:.0f} s",
    ]
    return lines


def _program(name: str) -> str:
    """How a program of this environment is called from a shell in which nothing is activated."""
    place = Path(sys.executable).parent / name
    if shutil.which(name) == str(place) or not place.exists():
        return name
    inside = place.is_relative_to(Path.cwd())
    return str(place.relative_to(Path.cwd()) if inside else place)


def show_predictions(
    texts: Sequence[str], classifier: Classifier, probabilities: npt.NDArray[np.float32]
) -> None:
    """Print each text's decision and its most probable labels."""
    decided = classifier.calibration.decide(probabilities, classifier.labels)
    names = classifier.labels.names
    for text, row, chosen in zip(texts, probabilities, decided, strict=True):
        labels = ", ".join(classifier.labels.decode(np.flatnonzero(chosen))) or "(none)"
        best = "  ".join(f"{names[i]} {row[i]:.4f}" for i in np.argsort(-row)[:5])
        excerpt = text if len(text) <= 70 else text[:69] + "…"
        print(f"{labels}\t{best}\t{excerpt}")
