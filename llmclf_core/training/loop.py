"""The one training loop. An approach plugs in how a batch's loss and a validation are computed."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from llmclf_core.config import TrainingConfig
from llmclf_core.errors import UserError
from llmclf_core.processes import on_cpu
from llmclf_core.progress import Ticker
from llmclf_core.tokens.batching import Rows, epoch_batches
from llmclf_core.training.checkpoint import (
    Best,
    Progress,
    copy_of,
    load_checkpoint,
    restore,
    save_checkpoint,
    trainable,
)
from llmclf_core.training.optimizer import make_optimizer
from llmclf_core.training.passes import passes, token_limit
from llmclf_core.training.schedule import rate_factor

log = logging.getLogger(__name__)

Logits = npt.NDArray[np.float32]
LogMetrics = Callable[[dict[str, float], int], None]


@dataclass
class Task:
    """What an approach gives to the loop.

    Attributes:
        model: its trainable parameters are trained.
        lengths: tokens of each training row, (n,).
        loss: (module, row numbers) to the sum of the rows' losses, a scalar tensor. The module is
            ``model``, perhaps wrapped by Accelerate.
        validate: metrics on the validation rows, ``config.metric`` and ``loss`` among them, and the
            logits they came from, float32, (rows, n_labels). Called in eval mode.
        warm: the untrained start already predicts, so it is validated and may be the best.
        head: names of trainable parameters that learn at ``head_learning_rate``.
        shared: tokens, among ``lengths``, that all rows begin with and a pass reads once.
        itemsize: bytes of a number in hidden states.
    """

    model: nn.Module
    lengths: npt.NDArray[np.int64]
    loss: Callable[[nn.Module, Rows], Tensor]
    validate: Callable[[], tuple[dict[str, float], Logits]]
    warm: bool = False
    head: set[str] = field(default_factory=set)
    shared: int = 0
    itemsize: int = 4


class Loop:
    """Train with gradient accumulation, early stopping, the best checkpoint and exact resumption.

    With several processes (``accelerate launch``) every optimiser step's batches are dealt out
    among them; the gradient is that of the same rows on one process.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        seed: int,
        checkpoint: Path,
        log_metrics: LogMetrics,
        spent: float = 0.0,
    ) -> None:
        """Args:
        task: what to train.
        config: how.
        seed: of the order of the rows.
        checkpoint: directory of the resumable state; its parent must be writable.
        log_metrics: called with (metrics, step) as they come.
        spent: seconds that making the task took; a resumed training has counted them already.
        """
        self.task, self.config, self.seed, self.checkpoint = task, config, seed, checkpoint
        self.log_metrics = log_metrics
        self.accelerator = Accelerator(cpu=on_cpu())
        self.optimizer = make_optimizer(task.model, task.head, config)
        self.model, self.prepared = self.accelerator.prepare(task.model, self.optimizer)
        self.rows_per_step = config.batch_size * config.accumulation * self.processes
        self.steps_per_epoch = math.ceil(len(task.lengths) / self.rows_per_step)
        self.total = self.steps_per_epoch * config.epochs
        self.progress = Progress(seconds=spent)
        self.best = Best({}, torch.empty(0))
        self._counted = 0.0
        self._limit = token_limit(config, task.shared, task.itemsize)

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    def run(self) -> tuple[Progress, Logits]:
        """Train, or go on with a broken training, and leave the best parameters in the model.

        Returns:
            How it went, and the validation logits of the best parameters.

        Raises:
            UserError: when the loss is not finite, or the checkpoint cannot be read or written.
        """
        self._start_or_resume()
        with Ticker("train", self.total, self.progress.step) as ticker:
            self._train(ticker)
        restore(self.task.model, self.best.parameters)
        self.task.model.eval()
        return self.progress, self.best.validation_logits.numpy()

    def _train(self, ticker: Ticker) -> None:
        saved = time.monotonic()
        for batches in self._steps():
            loss = self._step(batches)
            ticker.update(loss=loss)
            self.log_metrics({"train_loss": loss}, self.progress.step)
            if self._evaluation_due():
                self._evaluate()
            self._count_time()
            finished = self.progress.stopped or self.progress.step == self.total
            if finished or time.monotonic() - saved >= self.config.checkpoint_seconds:
                self._save()
                saved = time.monotonic()

    def _start_or_resume(self) -> None:
        resuming = self.checkpoint.exists()
        self.accelerator.wait_for_everyone()  # before the main process writes the first one
        if resuming:
            self.progress, self.best = load_checkpoint(
                self.checkpoint, self.task.model, self.optimizer
            )
            log.info("resuming at step %d of %d", self.progress.step, self.total)
        self._counted = time.monotonic()
        if resuming:
            return
        if self.task.warm:
            self._evaluate()
            self._count_time()
        self._save()

    def _count_time(self) -> None:
        """Add the time since the last call to that of the training."""
        now = time.monotonic()
        self.progress.seconds += now - self._counted
        self._counted = now

    def _steps(self) -> Iterator[list[Rows]]:
        """The remaining optimiser steps, each a list of this process's batches."""
        while self.progress.step < self.total and not self.progress.stopped:
            epoch, done = divmod(self.progress.step, self.steps_per_epoch)
            batches = epoch_batches(self.task.lengths, self.config.batch_size, self.seed, epoch)
            per_step = self.config.accumulation * self.processes
            for i in range(done, self.steps_per_epoch):
                yield batches[i * per_step : (i + 1) * per_step]
                if self.progress.stopped:
                    return

    def _step(self, batches: list[Rows]) -> float:
        """One optimiser step; returns the mean loss of its rows."""
        self.model.train()
        n_rows = sum(len(rows) for rows in batches)
        mine = batches[self.accelerator.process_index :: self.processes]
        # Gradients are averaged over processes; scale back to the mean over the step's rows. The
        # others wait for this process's gradient also where no rows are left for it.
        weight = self.processes / n_rows if mine else 0.0
        each = passes(mine or batches[:1], self.task.lengths, self._limit, self.task.shared)
        total = torch.zeros((), device=self.accelerator.device)
        for i, rows in enumerate(each):
            with self._sync(last=i == len(each) - 1):
                loss = self.task.loss(self.model, rows) * weight
                self.accelerator.backward(loss)
            total += loss.detach()
        self._apply_gradient()
        self.progress.step += 1
        self.progress.tokens += int(sum(self.task.lengths[rows].sum() for rows in batches))
        return self._finite(float(self.accelerator.reduce(total, "mean")))

    def _sync(self, last: bool) -> Any:
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.model)

    def _apply_gradient(self) -> None:
        config = self.config
        factor = rate_factor(self.progress.step, self.total, config.warmup, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.accelerator.clip_grad_norm_(
            list(trainable(self.task.model).values()), config.max_grad_norm
        )
        self.prepared.step()
        self.prepared.zero_grad()

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss became {loss} at step {self.progress.step}; lower "
                "training.learning_rate, or set base.dtype: float32"
            )
        return loss

    def _evaluation_due(self) -> bool:
        per_epoch = self.config.evaluations_per_epoch
        done = self.progress.step % self.steps_per_epoch or self.steps_per_epoch
        due = {math.ceil(self.steps_per_epoch * k / per_epoch) for k in range(1, per_epoch + 1)}
        return done in due

    def _evaluate(self) -> None:
        progress = self.progress
        self.task.model.eval()
        metrics, logits = self.task.validate()
        metric = metrics[self.config.metric]
        progress.history.append({"step": progress.step} | metrics)
        self.log_metrics({f"validation_{k}": v for k, v in metrics.items()}, progress.step)
        log.info(
            "step %d/%d: validation %s %.4f", progress.step, self.total, self.config.metric, metric
        )
        # F1 on few rows is coarse: among equals the lower loss is the better model.
        score = (metric, -metrics["loss"])
        if progress.best_score is None or score > tuple(progress.best_score):
            progress.best_score, progress.best_step, progress.stale = score, progress.step, 0
            parameters = copy_of(trainable(self.task.model))
            self.best = Best(parameters, torch.from_numpy(logits))
        else:
            progress.stale += 1
            patience = self.config.patience
            progress.stopped = 0 < patience <= progress.stale

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.checkpoint, self.task.model, self.optimizer, self.best, self.progress
            )
        self.accelerator.wait_for_everyone()
