"""The names people give to splits."""

from __future__ import annotations

from llmclf_core.artifacts import TEST, TRAIN, VALIDATION

ALIASES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "development": VALIDATION,
    "test": TEST,
    "testing": TEST,
}


def canonical_split(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` for a split's usual names, else None."""
    return ALIASES.get(name.strip().lower())
