"""What the training steps of all neural approaches do alike: state, resumption, tracking."""

from __future__ import annotations

import logging
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from filelock import FileLock, Timeout
from torch import nn

from llmclf_core import __version__
from llmclf_core.approaches.base import Classifier
from llmclf_core.artifacts import TRAIN, VALIDATION, Tokens
from llmclf_core.config import BaseModelConfig, TrainingConfig
from llmclf_core.errors import explain_os_errors
from llmclf_core.files import recover
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import compute_dtype, resolve
from llmclf_core.paths import cache_dir, fingerprint
from llmclf_core.processes import is_main_process, process_state
from llmclf_core.registry.journal import JOURNAL
from llmclf_core.registry.system_metrics import system_metrics
from llmclf_core.registry.tracking import Tracker
from llmclf_core.steps.tracked import lineage, log_inputs, training_run
from llmclf_core.training.cost import training_cost
from llmclf_core.training.loop import Logits, LogMetrics, Loop, Task

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=Classifier)

CHECKPOINT = "checkpoint"
_KEPT_SECONDS = 7 * 24 * 3600


class NeuralJob(ABC, Generic[M, C]):
    """One training: its inputs, where its state lies, and the parts that the loop needs.

    An approach's job says how the model is built from the seed alone, what a batch's loss and a
    validation are, and what classifier comes of it.

    Attributes:
        tokens: training and validation rows.
        base, base_config: the pretrained model; ``dtype`` is resolved.
        training, seed: the loop.
        train_truth, validation_truth: 0/1 matrices, (rows, n_labels).
        state: directory of checkpoint and journal; equal trainings share it.
    """

    approach: ClassVar[str]

    def __init__(
        self,
        tokens_path: Path,
        base_config: BaseModelConfig,
        training: TrainingConfig,
        seed: int,
        own_settings: dict[str, Any],
    ) -> None:
        """Args:
        tokens_path: a saved :class:`Tokens`, made with the tokenizer of the same base.
        base_config: the base model, quantisation and compute type.
        training: the loop.
        seed: of everything random.
        own_settings: sections that only this approach has, by name.

        Raises:
            UserError: for unreadable tokens or a base model that cannot be found.
        """
        self.tokens = Tokens.load(tokens_path)
        self.base = resolve(base_config.source, base_config.revision)
        dtype = str(compute_dtype(base_config.dtype)).removeprefix("torch.")
        self.base_config = base_config.model_copy(update={"dtype": dtype})
        self.training, self.seed = training, seed
        self.labels: LabelSpace = self.tokens.labels
        self.train_truth = self.labels.indicators(self.tokens.splits[TRAIN]["labels"])
        self.validation_truth = self.labels.indicators(self.tokens.splits[VALIDATION]["labels"])
        # All that decides the result, by section; checkpoint_seconds does not.
        self.settings: dict[str, Any] = {
            "approach": self.approach,
            "seed": seed,
            "base": self.base_config.model_dump(),
            "training": training.model_dump(exclude={"checkpoint_seconds"}),
            "tokenize": self.tokens.recipe,
        } | own_settings
        self.key = fingerprint(
            __version__, self.tokens.fingerprint, self.base.fingerprint, self.settings
        )
        self.state = cache_dir() / "training" / self.key
        self.journal = self.state / JOURNAL

    @property
    def dtype(self) -> torch.dtype:
        """Compute type."""
        return getattr(torch, self.base_config.dtype)  # type: ignore[no-any-return]

    @property
    def resuming(self) -> bool:
        """A checkpoint will replace the fresh model's parameters."""
        return (self.state / CHECKPOINT).exists()

    @abstractmethod
    def build(self) -> M:
        """The model as training starts; torch is seeded already."""

    @abstractmethod
    def task(self, model: M) -> Task:
        """Loss and validation of what :meth:`build` made."""

    @abstractmethod
    def classifier(self, model: M, validation_logits: Logits) -> C:
        """The calibrated classifier; the model holds its best parameters."""

    def run(self, output: Path) -> C:
        """Train, calibrate on the validation rows, save the classifier.

        Killed and run again with the same arguments, it goes on from its last checkpoint in the
        cache directory; on a CPU the final weights equal those of an unbroken run.

        Raises:
            UserError: for settings that do not fit the base, a loss that is not finite, an
                unwritable output.
        """
        with _exclusive(self.state):
            process_state().wait_for_everyone()  # the main process may have brought one back
            if not is_main_process():
                return self._train(lambda metrics, step: None)
            with self._tracker() as tracker, system_metrics(tracker):
                classifier = self._train_and_track(tracker)
                classifier.save(output, {JOURNAL: self.journal})
            self._tidy()
        return classifier

    def _tracker(self) -> Any:
        return training_run(
            self.journal,
            approach=self.approach,
            corpus=self.tokens.corpus,
            base=self.base.source,
            quantization=self.base_config.quantization,
            seed=self.seed,
        )

    def _train_and_track(self, tracker: Tracker) -> C:
        rows = {name: len(split) for name, split in self.tokens.splits.items()}
        log_inputs(tracker, self.settings, self.tokens.corpus, rows)
        classifier = self._train(tracker.metrics)
        tracker.metrics(classifier.cost | classifier.validation)
        classifier.lineage = lineage(
            tracker, corpus=self.tokens.corpus, tokens=self.tokens.fingerprint, seed=self.seed
        )
        return classifier

    def _train(self, log_metrics: LogMetrics) -> C:
        torch.manual_seed(self.seed)
        model = self.build()
        loop = Loop(
            self.task(model), self.training, self.seed, self.state / CHECKPOINT, log_metrics
        )
        progress, logits = loop.run()
        classifier = self.classifier(model, logits)
        classifier.cost = training_cost(model, progress)
        classifier.validation = {
            "best_step": float(progress.best_step),
            f"best_validation_{self.training.metric}": (progress.best_score or (0.0,))[0],
        }
        return classifier

    def _tidy(self) -> None:
        """Drop what a finished training no longer needs, and finished ones of long ago.

        The last checkpoint stays for a while: whoever asks for this very training again (a step
        that was killed before its runner took note, a copy of the same data) gets it at once.
        """
        for file in self.state.glob("embeddings-*.npy"):
            file.unlink()
        for other in self.state.parent.iterdir():
            if other != self.state and time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(other) if other.is_dir() else other.unlink()


@contextmanager
def _exclusive(state: Path) -> Iterator[None]:
    """Two runs of the same training take turns; processes of one training share it."""
    with explain_os_errors(state):
        state.mkdir(parents=True, exist_ok=True)
    if not is_main_process():
        yield
        return
    lock = FileLock(state.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.info("another process is at this very training: waiting for it, to use its result")
        lock.acquire()
    recover(state / CHECKPOINT)
    try:
        yield
    finally:
        lock.release()
