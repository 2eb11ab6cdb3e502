"""Results that may leave the machine: what the claims are judged by, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from llmclf_core.evaluation.evaluation import REPORT, Evaluation
from llmclf_core.registry.lineage import git_commit, machine, versions

SUMMARY = (
    "answer", "seconds", "corpus", "test_rows", "confidence", "metric", "champion", "approaches",
    "pairs", "digests", "made_on",
)  # fmt: skip
LIBRARIES = ["torch", "transformers", "peft", "scikit-learn", "kfp", "mlflow"]


def made_on() -> dict[str, Any]:
    """The machine, the threads that a step computes with, libraries and code."""
    return machine() | {
        "threads": torch.get_num_threads(),
        "versions": versions(LIBRARIES),
        "git_commit": git_commit(),
    }


def portable(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's summary without places; what failed is named, but not why: a reason names places."""
    missing = [{k: v for k, v in item.items() if k != "reason"} for item in summary["missing"]]
    approaches = [item | {"base": _name(item["base"])} for item in summary["approaches"]]
    kept = {name: summary[name] for name in SUMMARY}
    return kept | {"missing": missing, "approaches": approaches}


def save(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation without the corpus' texts, and without what can be computed again."""
    own = replace(
        evaluation,
        base=_name(evaluation.base),
        mistakes=[],
        curves={},
        micro_curve=None,
        reliability={"before": [], "after": []},
        corpus_report={"splits": evaluation.corpus_report["splits"]},
    )
    own.save(path)
    (path / REPORT).unlink()


def _name(base: str | None) -> str | None:
    return base and Path(base).name
