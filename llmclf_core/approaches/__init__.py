"""The answers to one question, each a :class:`Classifier`."""

from __future__ import annotations

import importlib
from pathlib import Path

from llmclf_core.approaches.base import HEADER, Calibration, Classifier
from llmclf_core.errors import UserError
from llmclf_core.files import read_json

APPROACHES = {
    "tfidf": "llmclf_core.approaches.tfidf:TfidfClassifier",
    "probe": "llmclf_core.approaches.probe:ProbeClassifier",
    "encoder": "llmclf_core.approaches.encoder:EncoderClassifier",
    "head": "llmclf_core.approaches.head:HeadClassifier",
    "instruct": "llmclf_core.approaches.instruct:InstructClassifier",
}
"""Where each approach's classifier is defined. Imported on demand: whoever only reads figures does
not wait for torch and transformers."""

__all__ = ["APPROACHES", "Calibration", "Classifier", "approach_class", "load_classifier"]


def approach_class(approach: str) -> type[Classifier]:
    """The class of an approach's classifiers.

    Raises:
        KeyError: for an approach that this version does not know.
    """
    module, name = APPROACHES[approach].split(":")
    found: type[Classifier] = getattr(importlib.import_module(module), name)
    return found


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
    return approach_class(approach).from_directory(path, base)
