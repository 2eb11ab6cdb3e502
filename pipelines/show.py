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
from pipelines.local import Finished

FIGURES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}


def show(finished: Finished, runs: Path) -> None:
    """Print the metrics table, the registered model, and what to do next."""
    console = Console()
    summary = finished.summary
    console.print(_table(summary, _others(summary, runs)))
    for line in _next_steps(finished, runs):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _table(summary: dict[str, Any], others: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{summary['test_rows']} test rows", title_justify="left")
    table.add_column("metric")
    table.add_column(_heading(summary), justify="right")
    table.add_column(f"{summary['confidence']:.0%} interval", justify="right")
    for other in others:
        table.add_column(_heading(other), justify="right")
    for name, title in FIGURES.items():
        interval = summary["intervals"].get(name)
        shown = f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else ""
        values = [f"{s['metrics'][name]:.4f}" for s in (summary, *others)]
        table.add_row(title, values[0], shown, *values[1:])
    return table


def _heading(summary: dict[str, Any]) -> str:
    base = Path(summary["base"]).name
    return f"head, {base}\n{summary['quantization']}, seed {summary['seed']}"


def _others(summary: dict[str, Any], runs: Path, most: int = 3) -> list[dict[str, Any]]:
    """The latest earlier runs of other classifiers on the same corpus, to be set beside."""
    found: dict[str, dict[str, Any]] = {}
    files = sorted(runs.glob("*/summary.json"), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in files:
        other = json.loads(file.read_text("utf-8"))
        if other["corpus"] == summary["corpus"] and other["classifier"] != summary["classifier"]:
            found.setdefault(other["classifier"], other)
    return list(found.values())[:most]


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
