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
from rich.console import Console
from rich.table import Table

from llmclf_core.approaches.base import Classifier
from llmclf_core.evaluation.comparison import Missing
from llmclf_core.evaluation.names import duration, title
from pipelines.local import Finished

METRICS = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "calibration_error": "calibr. error",
}


def show(finished: Finished, runs: Path) -> None:
    """Print the answer, the table of approaches, the registered model, and what to do next."""
    console = Console()
    summary = finished.summary
    console.print(summary["answer"], highlight=False, markup=False)
    console.print(_table(summary, _others(summary, runs)))
    for line in [*_missing(summary), *_next_steps(finished, runs)]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _table(summary: dict[str, Any], others: list[dict[str, Any]]) -> Table:
    title = f"{summary['test_rows']} test rows; * is the champion"
    table = Table(title=title, title_justify="left")
    compared = METRICS.get(summary["metric"], summary["metric"])
    table.add_column("approach")
    table.add_column(f"{summary['confidence']:.0%} interval\nof {compared}", justify="right")
    for title in METRICS.values():
        table.add_column(title, justify="right")
    for title in ("trained\nparameters", "train", "texts/s", "peak\nmemory"):
        table.add_column(title, justify="right")
    for approach in summary["approaches"]:
        mark = "* " if approach["approach"] == summary["champion"] else ""
        table.add_row(*_row(approach, mark), style="bold" if mark else None)
    for approach in others:
        table.add_row(*_row(approach, "earlier: "), style="dim")
    return table


def _row(approach: dict[str, Any], mark: str) -> list[str]:
    low, high = approach["interval"]
    figures = [f"{approach['metrics'][name]['mean']:.4f}" for name in METRICS]
    return [mark + _heading(approach), f"{low:.3f} – {high:.3f}", *figures, *_costs(approach)]


def _heading(approach: dict[str, Any]) -> str:
    parts = [title(approach["approach"])]
    parts += [Path(approach["base"]).name] if approach["base"] else []
    parts += [approach["quantization"]] if approach["quantization"] != "none" else []
    seeds = [str(seed) for seed in approach["seeds"] if seed is not None]
    parts += [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"] if seeds else []
    return ", ".join(parts)


def _costs(approach: dict[str, Any]) -> list[str]:
    cost = approach["cost"]
    seconds, peak = cost.get("train_seconds"), cost.get("peak_memory_mb")
    return [
        f"{cost['trained_parameters']:,.0f}" if "trained_parameters" in cost else "",
        "" if seconds is None else duration(seconds),
        f"{cost['predict_texts_per_second']:,.1f}",
        "" if peak is None else f"{peak / 1000:.1f} GB",
    ]


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
    return [f"missing:  {Missing(**item)}" for item in summary["missing"]]


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
