"""What the steps that solve for their weights do alike (tfidf, probe): no loop, no chance."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from llmclf_core.approaches import load_classifier
from llmclf_core.approaches.base import Classifier
from llmclf_core.errors import UserError
from llmclf_core.evaluation.calibrate import fit_calibration
from llmclf_core.files import parse_json, write_json
from llmclf_core.labels import LabelSpace
from llmclf_core.progress import Ticker
from llmclf_core.steps.job import Job
from llmclf_core.training.cost import cost_of
from llmclf_core.training.memory import Peak
from llmclf_core.training.validation import validation_metrics

if TYPE_CHECKING:  # it imports torch, which tfidf does not need
    from llmclf_core.training.loop import Logits, LogMetrics

log = logging.getLogger(__name__)

C = TypeVar("C", bound=Classifier)

_SECONDS_BETWEEN_NOTES = 5.0

Weights = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""weight (n_labels, features) and bias (n_labels,), float32."""


class Stopwatch:
    """Seconds and memory of a work over all its attempts; a kill loses a few seconds of them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        noted = parse_json(file, "training") if file.exists() else {}
        self._before: float = noted.get("seconds", 0.0)
        self._peak = Peak(**noted.get("peak", {}))
        self._begun = self._noted = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    @property
    def peak(self) -> Peak:
        """The most memory taken so far."""
        return self._peak.now()

    def tick(self) -> None:
        """Take a note, now and then."""
        if time.monotonic() - self._noted >= _SECONDS_BETWEEN_NOTES:
            write_json(self._file, {"seconds": self.seconds, "peak": asdict(self.peak)})
            self._noted = time.monotonic()


@dataclass(frozen=True)
class Chosen:
    """The best of several regularisations.

    Attributes:
        c: inverse regularisation.
        weights: fitted with it.
        logits: of the validation rows, float32, (rows, n_labels).
        macro_f1, loss: on the validation rows.
    """

    c: float
    weights: Weights
    logits: Logits
    macro_f1: float
    loss: float


def choose(
    candidates: Sequence[float],
    fit: Callable[[float], Weights],
    logits: Callable[[Weights], Logits],
    truth: npt.NDArray[np.int8],
    labels: LabelSpace,
    log_metrics: LogMetrics,
) -> Chosen:
    """Fit with each regularisation and take the best by validation macro F1, then log loss.

    Args:
        candidates: inverse regularisations; among equals the smallest is taken.
        fit: one of them to weights.
        logits: weights to the logits of the validation rows.
        truth: 0/1 matrix of the validation rows.
        labels: the label space.
        log_metrics: called with each one's metrics and its number, by size.
    """

    def tried() -> Iterator[Chosen]:
        with Ticker("fit", len(candidates)) as ticker:
            for number, c in enumerate(sorted(candidates)):
                weights = fit(c)
                scores = logits(weights)
                metrics = validation_metrics(scores, truth, labels)
                log_metrics({f"validation_{k}": v for k, v in metrics.items()}, number)
                ticker.update(c=c, macro_f1=metrics["macro_f1"])
                yield Chosen(c, weights, scores, metrics["macro_f1"], metrics["loss"])

    return max(tried(), key=lambda chosen: (chosen.macro_f1, -chosen.loss))


class FitJob(Job[C], Generic[C]):
    """A fit: its features come from the data, its weights from :func:`choose`.

    Attributes:
        labels: the label space.
        train_truth, validation_truth: 0/1 matrices, (rows, n_labels).
    """

    kept: ClassVar[str] = "classifier"
    labels: LabelSpace
    validation_truth: npt.NDArray[np.int8]

    @abstractmethod
    def fit(self, log_metrics: LogMetrics, watch: Stopwatch) -> tuple[C, Chosen]:
        """The classifier, not yet calibrated, and how its weights were chosen."""

    @property
    def tokens(self) -> int | None:
        """Tokens of the training rows, where there are any."""
        return None

    def train(self, log_metrics: LogMetrics) -> C:
        before = self._fitted_before()
        if before is not None:
            return before
        watch = Stopwatch(self.state / "spent.json")
        classifier, chosen = self.fit(log_metrics, watch)
        parameters = sum(part.size for part in chosen.weights)
        classifier.cost = cost_of(parameters, watch.seconds, watch.peak, self.tokens)
        classifier.validation = {"best_validation_macro_f1": chosen.macro_f1, "best_c": chosen.c}
        classifier.calibration = fit_calibration(chosen.logits, self.validation_truth, self.labels)
        classifier.save(self.state / self.kept)
        return classifier

    def _fitted_before(self) -> C | None:
        if not (self.state / self.kept).exists():
            return None
        try:
            classifier = load_classifier(self.state / self.kept)
        except UserError:
            return None  # damaged: fitted again
        log.info("the same fit was done before: its result is taken")
        return classifier  # type: ignore[return-value]
