"""What a runner's own page shows of an evaluation or a comparison, failed ones included."""

from __future__ import annotations

import html
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmclf_core.evaluation.comparison import HEADER as COMPARISON
from llmclf_core.evaluation.evaluation import HEADER, REPORT
from llmclf_core.failures import Failure, failure_in
from llmclf_core.files import read_json


@dataclass(frozen=True)
class Shown:
    """Figures of one evaluation.

    Attributes:
        metrics: name to value; empty for a failed trial.
        labels: names, in the order of the matrix.
        confusion: true by predicted label, counts of rows; empty unless single-label.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)


def evaluation_page(evaluation: Path, report: Path, *figures: str) -> Shown:
    """Put an evaluation's report where the runner shows it, and say what else to show.

    Args:
        evaluation: what the evaluate step wrote, a failure perhaps.
        report: HTML file to write.
        figures: files that get the metrics as JSON. Their artifacts live in metadata alone, but a
            local step cache takes only artifacts that have a file for whole.
    """
    if failure := failure_in(evaluation):
        report.write_text(_failed(failure), "utf-8")
        shown = Shown()
    else:
        shutil.copyfile(evaluation / REPORT, report)
        shown = _shown(read_json(evaluation / HEADER, "evaluation"))
    for file in figures:
        Path(file).write_text(json.dumps(shown.metrics), "utf-8")
    return shown


def comparison_page(comparison: Path, report: Path, *figures: str) -> Shown:
    """The same for a comparison: the metrics are each approach's mean of the compared one."""
    shutil.copyfile(comparison / REPORT, report)
    data = read_json(comparison / COMPARISON, "comparison")
    metric = data["settings"]["metric"]
    shown = Shown(
        {f"{a['approach']}_{metric}": a["metrics"][metric]["mean"] for a in data["approaches"]}
    )
    for file in figures:
        Path(file).write_text(json.dumps(shown.metrics), "utf-8")
    return shown


def _shown(data: dict[str, Any]) -> Shown:
    labels = data["labels"]
    confusion = data["confusion"] if labels["task"] == "single" else []
    return Shown(data["metrics"], labels["names"], confusion)


def _failed(failure: Failure) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Failed</title>'
        f"<h1>Failed</h1><p>{html.escape(str(failure))}</p></html>"
    )
