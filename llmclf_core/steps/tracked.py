"""How every training step, neural or not, appears in MLflow: one run, alike for all approaches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from llmclf_core.registry.journal import read_journal
from llmclf_core.registry.lineage import collect
from llmclf_core.registry.tracking import Tracker


def training_run(
    journal: Path,
    *,
    approach: str,
    corpus: str,
    base: str | None = None,
    quantization: str = "none",
    seed: int | None = None,
) -> AbstractContextManager[Tracker]:
    """The run of one training, over all its attempts; the same settings trained afresh are another.

    Args:
        journal: where what is logged is kept.
        approach: of the classifier.
        corpus: fingerprint of the corpus.
        base: source of the base model, for an approach that has one.
        quantization: of the base.
        seed: None for an approach that knows no chance.
    """
    parts = [approach, base and Path(base).name, None if seed is None else f"seed{seed}"]
    parts.append(None if quantization == "none" else quantization)
    tags = {
        "llmclf.approach": approach,
        "llmclf.base": base,
        "llmclf.quantization": quantization if base else None,
        "llmclf.seed": None if seed is None else str(seed),
        "llmclf.corpus": corpus,
    }
    begun = read_journal(journal) if journal.exists() else []
    return Tracker.open(
        journal,
        run_key=begun[0]["run_key"] if begun else uuid.uuid4().hex,
        name="-".join(p for p in parts if p),
        tags={k: v for k, v in tags.items() if v is not None},
    )


def log_inputs(
    tracker: Tracker, settings: Mapping[str, Any], corpus: str, rows: Mapping[str, int]
) -> None:
    """Parameters (nested ones by dotted names) and the rows that training sees, by split."""
    tracker.params(_flat(settings))
    for name, n in rows.items():
        tracker.dataset(corpus, "corpus", f"{name} rows", n, name)


def lineage(tracker: Tracker, **known: Any) -> dict[str, Any]:
    """Where a classifier comes from; see :func:`llmclf_core.registry.lineage.collect`."""
    return collect(run_key=tracker.run_key, **known)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
