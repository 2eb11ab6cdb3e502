"""The evaluation of one classifier on one corpus's test rows, as an artifact."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from llmclf_core.artifacts import Predictions
from llmclf_core.evaluation.calibration import Bin
from llmclf_core.evaluation.metrics import Curve, LabelRow
from llmclf_core.evaluation.mistakes import Mistake
from llmclf_core.files import atomic_directory, explain_header, read_json, stamp, write_json

HEADER = "evaluation.json"
REPORT = "report.html"


@dataclass
class Evaluation:
    """Every figure of one classifier, with the predictions they were computed from.

    Attributes:
        predictions: of the test rows; saved beside the figures, so ``Predictions.load`` reads an
            evaluation's directory.
        approach: the classifier's approach.
        metrics: flat figures by name, the same names for every approach; those with the prefix
            ``uncalibrated_`` were taken before temperature scaling.
        intervals: (low, high) of ``accuracy``, ``micro_f1``, ``macro_f1`` and ``weighted_f1``.
        confidence: coverage of the intervals.
        temperature: that the logits were divided by.
        per_label: the per-label table, in label order.
        confusion: nested lists; true by predicted label (single-label), or [[TN, FP], [FN, TP]]
            for each label (multi-label).
        curves: precision-recall curve by label; labels without a positive row are missing.
        micro_curve: the curve over all labels' decisions; None without any positive row.
        reliability: bins ``before`` and ``after`` temperature scaling.
        mistakes: the most confidently wrong rows.
        seconds: wall time of the prediction.
        corpus_report: what ingest found in the data.
        seed: of the training; None for an approach that knows no chance.
        base: source of the base model; None without one.
        quantization: of the base.
        cost: of the training, as the classifier has it, and ``artifact_mb``: the size of its
            directory (1 MB = 10^6 bytes; neither the base model nor its history counts).
        validation: the classifier's figures on the validation rows.
        trained_on: fingerprint of the corpus that the classifier learnt from; None when not known.
    """

    predictions: Predictions
    approach: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    confidence: float
    temperature: float
    per_label: list[LabelRow]
    confusion: list[Any]
    curves: dict[str, Curve]
    micro_curve: Curve | None
    reliability: dict[str, list[Bin]]
    mistakes: list[Mistake]
    seconds: float
    corpus_report: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    base: str | None = None
    quantization: str = "none"
    cost: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    trained_on: str | None = None

    @property
    def trial(self) -> str:
        """What tells it from the other evaluations of a comparison."""
        return self.approach if self.seed is None else f"{self.approach} (seed {self.seed})"

    @property
    def rows(self) -> int:
        """Number of test rows."""
        return len(self.predictions.ids)

    @property
    def texts_per_second(self) -> float:
        """Prediction speed, tokenization included."""
        return self.rows / self.seconds

    def seconds_for(self, texts: int) -> float | None:
        """Time to train and to classify ``texts``; None when the training's is not known."""
        trained = self.cost.get("train_seconds")
        return None if trained is None else trained + texts / self.texts_per_second

    def to_json(self) -> dict[str, Any]:
        """All but the predictions, and what identifies them."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "predictions"}
        return own | {
            "rows": self.rows,
            "texts_per_second": self.texts_per_second,
            "labels": self.predictions.labels.to_json(),
            "corpus": self.predictions.corpus,
            "classifier": self.predictions.classifier,
        }

    def save(self, path: Path, page: str = "") -> None:
        """Write figures, predictions and the HTML report as one directory, atomically.

        Args:
            path: the directory.
            page: the report, as :func:`llmclf_core.evaluation.report.render` makes it.

        Raises:
            UserError: when the place cannot be written.
        """
        with atomic_directory(path) as draft:
            self.predictions.write_files(draft)
            write_json(draft / HEADER, stamp("evaluation") | self.to_json())
            (draft / REPORT).write_text(page, "utf-8")

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Raises UserError for anything that is not a whole evaluation of this schema."""
        data = {"trained_on": None} | read_json(path / HEADER, "evaluation")  # older ones lack it
        with explain_header(path / HEADER):
            own = {f.name: data[f.name] for f in fields(cls) if f.name != "predictions"}
        own["intervals"] = {k: (low, high) for k, (low, high) in own["intervals"].items()}
        return cls(predictions=Predictions.load(path), **own)
