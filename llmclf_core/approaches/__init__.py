"""The answers to one question, each a :class:`Classifier`."""

from __future__ import annotations

from pathlib import Path

from llmclf_core.approaches.base import HEADER, Calibration, Classifier
from llmclf_core.approaches.head import HeadClassifier
from llmclf_core.artifacts import read_json
from llmclf_core.errors import UserError

APPROACHES: dict[str, type[Classifier]] = {HeadClassifier.approach: HeadClassifier}

__all__ = ["APPROACHES", "Calibration", "Classifier", "load_classifier"]


def load_classifier(path: Path, base: str | None = None) -> Classifier:
    """Load a saved classifier of any approach.

    Args:
        path: the classifier's directory.
        base: where its base model lies, when not at the recorded place.

    Raises:
        UserError: when the directory is not a whole classifier that this version knows, or its
            base model is missing or another one.
    """
    approach = read_json(path / HEADER, "classifier").get("approach")
    if approach not in APPROACHES:
        raise UserError(
            f"{path} holds a classifier of the approach {approach!r}; this llmclf knows "
            f"{', '.join(APPROACHES)}"
        )
    return APPROACHES[approach].from_directory(path, base)
