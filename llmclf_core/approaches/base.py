"""The contract that every approach answers: one directory format, one way to predict."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from llmclf_core.errors import UserError
from llmclf_core.files import (
    atomic_directory,
    explain_header,
    parse_json,
    read_json,
    stamp,
    write_json,
)
from llmclf_core.labels import LabelSpace
from llmclf_core.paths import file_sha256

HEADER = "classifier.json"
LINEAGE = "lineage.json"


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities and decisions; fitted on validation rows only.

    Attributes:
        temperature: logits are divided by it (arXiv 1706.04599); 1 leaves them as they are.
        thresholds: one for each label, on the calibrated probability; used when multi-label.
    """

    temperature: float
    thresholds: tuple[float, ...]

    @classmethod
    def none(cls, n_labels: int) -> Calibration:
        return cls(1.0, (0.5,) * n_labels)

    def probabilities(
        self, logits: npt.NDArray[np.float32], labels: LabelSpace
    ) -> npt.NDArray[np.float32]:
        """Softmax (single-label) or sigmoid (multi-label) of ``logits / temperature``.

        Args:
            logits: shape (n, n_labels).
            labels: the label space.

        Returns:
            float32, shape (n, n_labels); rows sum to 1 when single-label.
        """
        scaled = logits.astype(np.float64) / self.temperature
        if labels.task == "multi":
            # exp overflows for large negative logits; tanh does not.
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scaled)), dtype=np.float32)
        scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
        exp = np.exp(scaled)
        return np.asarray(exp / exp.sum(axis=1, keepdims=True), dtype=np.float32)

    def decide(
        self, probabilities: npt.NDArray[np.float32], labels: LabelSpace
    ) -> npt.NDArray[np.int8]:
        """Probabilities to a 0/1 matrix of the same shape (argmax, or thresholds)."""
        if labels.task == "multi":
            return (probabilities >= np.asarray(self.thresholds)).astype(np.int8)
        decided = np.zeros(probabilities.shape, dtype=np.int8)
        decided[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = 1
        return decided


class Classifier(ABC):
    """A trained text classifier, whatever the approach.

    Saved as one directory: ``classifier.json`` (approach, label space, calibration, all that the
    approach needs to rebuild itself, hashes of its files), ``lineage.json`` (where it came from,
    not part of its fingerprint) and the approach's own weight files, as safetensors. No pickle, and
    never a copy of the base model.

    Attributes:
        labels: the label space.
        calibration: how logits become probabilities and decisions.
        lineage: where it came from.
        cost: what its training cost, by name (``train_seconds``, ``trained_parameters``, …).
        validation: figures on the validation rows, by name.
    """

    approach: ClassVar[str]

    def __init__(self, labels: LabelSpace, calibration: Calibration | None = None) -> None:
        self.labels = labels
        self.calibration = calibration or Calibration.none(len(labels))
        self.lineage: dict[str, Any] = {}
        self.cost: dict[str, float] = {}
        self.validation: dict[str, float] = {}

    @abstractmethod
    def predict_logits(self, texts: Sequence[str], batch_size: int = 16) -> npt.NDArray[np.float32]:
        """Uncalibrated scores of texts, float32, shape (n_texts, n_labels), in the order given.

        Safe to call from several threads. The result does not depend on ``batch_size`` or on the
        other texts, up to the rounding of the compute type.
        """

    def predict_proba(self, texts: Sequence[str], batch_size: int = 16) -> npt.NDArray[np.float32]:
        """Calibrated probabilities, float32, shape (n_texts, n_labels)."""
        return self.calibration.probabilities(self.predict_logits(texts, batch_size), self.labels)

    def predict(self, texts: Sequence[str], batch_size: int = 16) -> list[list[str]]:
        """Label names of each text; exactly one when single-label."""
        decided = self.calibration.decide(self.predict_proba(texts, batch_size), self.labels)
        return [self.labels.decode(np.flatnonzero(row)) for row in decided]

    @abstractmethod
    def _write(self, path: Path) -> dict[str, Any]:
        """Write the approach's own files into ``path``; return what its header must remember."""

    @classmethod
    @abstractmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> Classifier:
        """Rebuild from ``path``; ``base`` replaces the recorded base model's place."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of weights, settings and calibration: equal classifiers have equal fingerprints."""

    def save(self, path: Path, extra: dict[str, Path] | None = None) -> None:
        """Write the directory atomically.

        Args:
            path: the directory.
            extra: files to copy in, by the name they get (the tracking journal).

        Raises:
            UserError: when the place cannot be written.
        """
        with atomic_directory(path) as draft:
            header = self._write(draft)
            header["files"] = _hashes(draft)
            write_json(draft / HEADER, stamp("classifier") | self.header() | header)
            history = {"cost": self.cost, "validation": self.validation}
            write_json(draft / LINEAGE, self.lineage | history)
            for name, file in (extra or {}).items():
                shutil.copyfile(file, draft / name)

    def header(self) -> dict[str, Any]:
        """The part of ``classifier.json`` that all approaches share."""
        return {
            "approach": self.approach,
            "fingerprint": self.fingerprint,
            "labels": self.labels.to_json(),
            "temperature": self.calibration.temperature,
            "thresholds": list(self.calibration.thresholds),
        }

    @classmethod
    def from_directory(cls, path: Path, base: str | None = None) -> Classifier:
        """Load a classifier of this approach; see :func:`llmclf_core.approaches.load_classifier`.

        Raises:
            UserError: when the directory is not a whole classifier of this schema, a file in it was
                damaged or changed, or its base model is missing or another one.
        """
        header = read_json(path / HEADER, "classifier")
        with explain_header(path / HEADER):
            _check_hashes(path, header["files"])
            labels = LabelSpace.from_json(header["labels"])
            classifier = cls._read(path, header, labels, base)
            classifier.calibration = Calibration(header["temperature"], tuple(header["thresholds"]))
        if (path / LINEAGE).exists():
            classifier.lineage = parse_json(path / LINEAGE, "classifier")
            classifier.cost = classifier.lineage.pop("cost", {})
            classifier.validation = classifier.lineage.pop("validation", {})
        return classifier


def _hashes(path: Path) -> dict[str, str]:
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return {f.relative_to(path).as_posix(): file_sha256(f) for f in files}


def _check_hashes(path: Path, hashes: dict[str, str]) -> None:
    # Libraries fill in what a file lacks (random adapter rows, another pad token) and go on.
    for name, expected in hashes.items():
        if not (path / name).is_file():
            raise UserError(
                f"{path} is not a whole classifier: {name} is missing; train or fetch it again"
            )
        if file_sha256(path / name) != expected:
            raise UserError(
                f"{path / name} is not as it was saved: damaged or changed; train or fetch the "
                "classifier again"
            )
