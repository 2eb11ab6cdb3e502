"""What the page of whoever runs the steps says of an artifact: a readable name, and a few facts."""

from __future__ import annotations

from pathlib import Path

from llmclf_core.failures import failure_in
from llmclf_core.files import read_json


def titled(artifact: Path, title: str) -> dict[str, str]:
    """The name; of an artifact that could not be made it says so, and why."""
    if failure := failure_in(artifact):
        return {"display_name": f"FAILED: {title}", "failed": str(failure)}
    return {"display_name": title}


def classifier_facts(path: Path, title: str) -> dict[str, str]:
    """Name, approach, base and fingerprint of a classifier."""
    named = titled(path, title)
    if "failed" in named:
        return named
    header = read_json(path / "classifier.json", "classifier")
    base = (header.get("base") or {}).get("source", "")
    return named | {
        "approach": header["approach"],
        "fingerprint": header["fingerprint"],
        "base": base,
    }


def token_facts(path: Path, title: str) -> dict[str, str | float]:
    """Name and truncation statistics of tokens, such as ``train_rows``."""
    named = titled(path, title)
    if "failed" in named:
        return {**named}
    statistics = read_json(path / "tokens.json", "tokens")["statistics"]
    own = {f"{split}_{k}": v for split, some in statistics.items() for k, v in some.items()}
    return {**named, **own}
