"""What the training steps of all approaches do alike: state, taking turns, tracking, saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from llmclf_core import __version__
from llmclf_core.approaches.base import Classifier
from llmclf_core.paths import fingerprint
from llmclf_core.processes import is_main_process, wait_for_everyone
from llmclf_core.registry.journal import JOURNAL
from llmclf_core.registry.system_metrics import system_metrics
from llmclf_core.registry.tracking import Tracker
from llmclf_core.steps.state import exclusive, state_of, tidy
from llmclf_core.steps.tracked import lineage, log_inputs, training_run

if TYPE_CHECKING:  # these import torch, which not every approach needs
    from llmclf_core.models.base import Base
    from llmclf_core.training.loop import LogMetrics

C = TypeVar("C", bound=Classifier)


class Job(ABC, Generic[C]):
    """One training of any approach, resumable and tracked in MLflow.

    Attributes:
        settings: all that decides the result, by section; logged as parameters.
        state: directory of journal and resumable state; equal trainings share it.
        journal: what is logged to MLflow.
    """

    approach: ClassVar[str]
    kept: ClassVar[str]
    """The directory inside ``state`` that outlives the training, for whoever asks again."""

    def __init__(
        self,
        settings: dict[str, Any],
        rows: Mapping[str, int],
        origin: dict[str, Any],
        base: Base | None = None,
        quantization: str = "none",
    ) -> None:
        """Args:
        settings: all that decides the result, by section.
        rows: how many there are, by split.
        origin: of the rows (``corpus``, ``tokens``), and ``seed``; goes into the lineage.
        base: the pretrained model, for an approach that has one.
        quantization: of the base.
        """
        self.settings, self._rows, self._origin = settings, rows, origin
        self._base, self._quantization = base, quantization
        data = origin.get("tokens") or origin["corpus"]
        key = fingerprint(__version__, data, base and base.fingerprint, settings)
        self.state = state_of(key)
        self.journal = self.state / JOURNAL

    @abstractmethod
    def train(self, log_metrics: LogMetrics) -> C:
        """The calibrated classifier, its cost and validation figures filled in."""

    def run(self, output: Path) -> C:
        """Train, calibrate on the validation rows, save the classifier.

        Killed and run again with the same arguments, it goes on from what the cache directory
        holds; on a CPU the final weights equal those of an unbroken run.

        Raises:
            UserError: for settings that do not fit the data or the base, a loss that is not finite,
                an unwritable output.
        """
        with exclusive(self.state, self.kept):
            wait_for_everyone()  # the main process may have brought one back
            if not is_main_process():
                return self.train(lambda metrics, step: None)
            with self._tracker() as tracker, system_metrics(tracker):
                classifier = self._train_and_track(tracker)
                classifier.save(output, {JOURNAL: self.journal})
            tidy(self.state)
        return classifier

    def _tracker(self) -> Any:
        return training_run(
            self.journal,
            approach=self.approach,
            corpus=self._origin["corpus"],
            base=self._base.source if self._base else None,
            quantization=self._quantization,
            seed=self._origin.get("seed"),
        )

    def _train_and_track(self, tracker: Tracker) -> C:
        log_inputs(tracker, self.settings, self._origin["corpus"], self._rows)
        classifier = self.train(tracker.metrics)
        tracker.metrics(classifier.cost | classifier.validation)
        classifier.lineage = lineage(tracker, **self._origin)
        return classifier
