"""The finetune-head step: adapter and head on a frozen base, from tokens to a classifier."""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from llmclf_core import __version__
from llmclf_core.approaches.head import HeadClassifier, batched_logits, hidden_size
from llmclf_core.artifacts import TRAIN, VALIDATION, Tokens
from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.errors import explain_os_errors
from llmclf_core.evaluation.calibrate import fit_calibration
from llmclf_core.files import recover
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base, compute_dtype, load_backbone, resolve
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.probe import fit_probe
from llmclf_core.paths import cache_dir, fingerprint
from llmclf_core.processes import device, is_main_process, process_state
from llmclf_core.registry.journal import JOURNAL, read_journal
from llmclf_core.registry.lineage import collect
from llmclf_core.registry.system_metrics import system_metrics
from llmclf_core.registry.tracking import Tracker
from llmclf_core.tokens.batching import Rows, pad
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import row_lengths
from llmclf_core.training.cost import training_cost
from llmclf_core.training.loop import Logits, LogMetrics, Loop, Task
from llmclf_core.training.losses import balanced_weights, row_losses
from llmclf_core.training.validation import validation_metrics

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
_EMBED_BATCH = 16
_KEPT_SECONDS = 7 * 24 * 3600


def finetune_head(
    tokens_path: Path,
    base_config: BaseModelConfig,
    lora: LoraConfig,
    head: HeadConfig,
    training: TrainingConfig,
    output: Path,
) -> HeadClassifier:
    """Train adapter and head, calibrate on the validation rows, save the classifier.

    Killed and run again with the same arguments, it goes on from its last checkpoint in the cache
    directory; on a CPU the final weights equal those of an unbroken run.

    Args:
        tokens_path: a saved :class:`Tokens`, made with the tokenizer of the same base.
        base_config: the base model, quantisation and compute type.
        lora: the adapter.
        head: pooling and head.
        training: the loop.
        output: directory of the classifier.

    Raises:
        UserError: for unreadable input, settings that do not fit the base, a loss that is not
            finite, an unwritable output.
    """
    tokens = Tokens.load(tokens_path)
    base = resolve(base_config.source, base_config.revision)
    dtype = compute_dtype(base_config.dtype)
    base_config = base_config.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    job = _Job(tokens, base, base_config, lora, head, training)
    with _exclusive(job.state):
        process_state().wait_for_everyone()  # the main process may have brought back a checkpoint
        if not is_main_process():
            return job.train(lambda metrics, step: None)
        with job.tracker() as tracker, system_metrics(tracker):
            classifier = job.train_and_track(tracker)
            classifier.save(output, {JOURNAL: job.journal})
        job.tidy()
    return classifier


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


class _Job:
    """One training: its inputs, where its state lies, and the parts the loop needs."""

    def __init__(
        self,
        tokens: Tokens,
        base: Base,
        base_config: BaseModelConfig,
        lora: LoraConfig,
        head: HeadConfig,
        training: TrainingConfig,
    ) -> None:
        self.tokens, self.base, self.base_config = tokens, base, base_config
        self.lora, self.head, self.training = lora, head, training
        self.labels: LabelSpace = tokens.labels
        self.train_ids = tokens.splits[TRAIN].select_columns("input_ids")
        self.train_truth = self.labels.indicators(tokens.splits[TRAIN]["labels"])
        self.validation_ids = tokens.splits[VALIDATION]["input_ids"]
        self.validation_truth = self.labels.indicators(tokens.splits[VALIDATION]["labels"])
        self.encoder = Encoder(tokens.tokenizer, TokenizeConfig(**tokens.recipe))
        self.key = fingerprint(__version__, tokens.fingerprint, base.fingerprint, self.settings())
        self.state = cache_dir() / "training" / self.key
        self.journal = self.state / JOURNAL
        self.figures: dict[str, float] = {}

    def settings(self) -> dict[str, Any]:
        """All that decides the result, by section; ``checkpoint_seconds`` does not."""
        return {
            "approach": HeadClassifier.approach,
            "base": self.base_config.model_dump(),
            "lora": self.lora.model_dump(),
            "head": self.head.model_dump(),
            "training": self.training.model_dump(exclude={"checkpoint_seconds"}),
            "tokenize": self.tokens.recipe,
        }

    def tracker(self) -> AbstractContextManager[Tracker]:
        name = f"head-{Path(self.base.source).name}-seed{self.training.seed}"
        if self.base_config.quantization != "none":
            name += f"-{self.base_config.quantization}"
        tags = {
            "llmclf.approach": HeadClassifier.approach,
            "llmclf.base": self.base.source,
            "llmclf.quantization": self.base_config.quantization,
            "llmclf.seed": str(self.training.seed),
            "llmclf.corpus": self.tokens.corpus,
        }
        # One training is one run, over all its attempts; the same settings trained afresh are not.
        begun = read_journal(self.journal) if self.journal.exists() else []
        key = begun[0]["run_key"] if begun else uuid.uuid4().hex
        return Tracker.open(self.journal, run_key=key, name=name, tags=tags)

    def train_and_track(self, tracker: Tracker) -> HeadClassifier:
        tracker.params(_flat(self.settings()))
        for name, rows in self.tokens.splits.items():
            tracker.dataset(self.tokens.corpus, "corpus", f"{name} rows", len(rows), name)
        classifier = self.train(tracker.metrics)
        tracker.metrics(self.figures)
        classifier.lineage = self.lineage(tracker)
        return classifier

    def train(self, log_metrics: LogMetrics) -> HeadClassifier:
        model = self.build()
        loop = Loop(self.task(model), self.training, self.state / CHECKPOINT, log_metrics)
        progress, logits = loop.run()
        self.figures = training_cost(model, progress) | {
            "best_step": float(progress.best_step),
            f"best_validation_{self.training.metric}": (progress.best_score or (0.0,))[0],
        }
        return self.classifier(model, logits)

    def build(self) -> HeadModel:
        """Backbone with a fresh adapter and head, from the seed alone."""
        torch.manual_seed(self.training.seed)
        backbone = load_backbone(
            self.base, self.base_config, getattr(torch, self.base_config.dtype)
        )
        if self.training.gradient_checkpointing:
            backbone.gradient_checkpointing_enable({"use_reentrant": False})
        head = ClassificationHead(hidden_size(backbone), len(self.labels), self.head).to(device())
        adapted = add_adapter(backbone, self.lora, self.base.source)
        model = HeadModel(adapted, head)
        if self.head.init == "frozen" and not (self.state / CHECKPOINT).exists():
            self._start_from_frozen(model)
        return model

    def _start_from_frozen(self, model: HeadModel) -> None:
        log.info("fitting the head on frozen embeddings")
        embeddings = pooled_embeddings(
            model,
            self.train_ids["input_ids"],
            self.encoder.pad_id,
            _EMBED_BATCH,
            self.state / f"embeddings-{process_state().process_index}.npy",
        )
        weight, bias = fit_probe(embeddings, self.train_truth, self.labels.task)
        with torch.no_grad():
            model.head.out.weight.copy_(torch.from_numpy(weight))
            model.head.out.bias.copy_(torch.from_numpy(bias))

    def task(self, model: HeadModel) -> Task:
        weights = None
        if self.training.class_weights == "balanced":
            weights = balanced_weights(self.train_truth, self.labels.task).to(device())

        def loss(module: nn.Module, rows: Rows) -> Tensor:
            ids, mask = pad(self.train_ids[rows]["input_ids"], self.encoder.pad_id, device())
            truth = torch.from_numpy(self.train_truth[rows]).to(device(), torch.float32)
            logits = module(ids, mask)
            return row_losses(logits, truth, self.labels.task, self.training, weights).sum()

        def validate() -> tuple[dict[str, float], Logits]:
            logits = batched_logits(
                model, self.validation_ids, self.encoder.pad_id, len(self.labels), _EMBED_BATCH
            )
            return validation_metrics(logits, self.validation_truth, self.labels), logits

        head = {f"head.{name}" for name, _ in model.head.named_parameters()}
        return Task(
            model,
            row_lengths(self.tokens.splits[TRAIN]),
            loss,
            validate,
            warm=self.head.init == "frozen",
            head=head,
        )

    def classifier(self, model: HeadModel, validation_logits: Logits) -> HeadClassifier:
        return HeadClassifier(
            model,
            self.encoder,
            self.labels,
            self.base,
            self.base_config,
            self.head,
            fit_calibration(validation_logits, self.validation_truth, self.labels),
        )

    def tidy(self) -> None:
        """Drop what a finished training no longer needs, and finished ones of long ago.

        The last checkpoint stays for a while: whoever asks for this very training again (a step
        that was killed before its runner took note, a copy of the same data) gets it at once.
        """
        for file in self.state.glob("embeddings-*.npy"):
            file.unlink()
        for other in self.state.parent.iterdir():
            if other != self.state and time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(other) if other.is_dir() else other.unlink()

    def lineage(self, tracker: Tracker) -> dict[str, Any]:
        return collect(
            corpus=self.tokens.corpus,
            tokens=self.tokens.fingerprint,
            run_key=tracker.run_key,
            seed=self.training.seed,
        )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
