"""The finetune-instruct step: an adapter that answers a prompt, from tokens to a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from llmclf_core.approaches.instruct import InstructClassifier, make_answerer
from llmclf_core.artifacts import TRAIN, VALIDATION
from llmclf_core.config import (
    BaseModelConfig,
    InstructConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.errors import UserError
from llmclf_core.evaluation.calibrate import fit_calibration
from llmclf_core.models.base import bare_model
from llmclf_core.models.causal import load_causal
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.plain_scoring import answer_losses
from llmclf_core.models.shared_prefix import SharedPrefix, shared_prefix
from llmclf_core.processes import device
from llmclf_core.progress import Ticker
from llmclf_core.steps.frozen import Frozen, Pass, SharedPass, frozen_layers
from llmclf_core.steps.neural import NeuralJob
from llmclf_core.tokens.batching import PASS_ROWS, Rows
from llmclf_core.tokens.instruct import InstructEncoder, render
from llmclf_core.tokens.prompt import Prompt
from llmclf_core.tokens.tokenize import row_lengths
from llmclf_core.training.loop import Logits, Task
from llmclf_core.training.losses import balanced_weights
from llmclf_core.training.validation import validation_metrics


def finetune_instruct(
    tokens_path: Path,
    base_config: BaseModelConfig,
    lora: LoraConfig,
    instruct: InstructConfig,
    training: TrainingConfig,
    output: Path,
    seed: int = 0,
) -> InstructClassifier:
    """Train an adapter on the answers, calibrate on the validation rows, save the classifier.

    The loss of a row is the negative log-likelihood of its answer's tokens, their sum; prompt and
    document are read and not learnt. Resumes as :meth:`llmclf_core.steps.neural.NeuralJob.run`
    says.

    Args:
        tokens_path: a saved :class:`Tokens`, made for these instruct settings with the tokenizer of
            the same base.
        base_config: the base model, quantisation and compute type.
        lora: the adapter.
        instruct: prompt and answers; its own tokenize, lora and training sections are not read.
        training: the loop; ``head_learning_rate`` has nothing to act on here.
        output: directory of the classifier.
        seed: of everything random.

    Raises:
        UserError: for unreadable input, settings that do not fit the base, the tokens or the
            approach, a loss that is not finite, an unwritable output.
    """
    _check_settings(training)
    return InstructJob(tokens_path, base_config, lora, instruct, training, seed).run(output)


def _check_settings(training: TrainingConfig) -> None:
    if training.loss == "focal":
        raise UserError(
            "training.loss: focal weighs labels, and instruct learns tokens; set cross_entropy "
            "(instruct.training.loss)"
        )


class InstructJob(NeuralJob[PeftModel, InstructClassifier]):
    """Teaches an adapter to answer a prompt."""

    approach: ClassVar[str] = InstructClassifier.approach
    prompted: ClassVar[bool] = True
    shared: SharedPrefix | None = None

    def __init__(
        self,
        tokens_path: Path,
        base_config: BaseModelConfig,
        lora: LoraConfig,
        instruct: InstructConfig,
        training: TrainingConfig,
        seed: int,
    ) -> None:
        shown = instruct.model_dump(exclude={"tokenize", "lora", "training"})
        own = {"lora": lora.model_dump(), "instruct": shown}
        super().__init__(tokens_path, base_config, training, seed, own)
        self.lora, self.instruct = lora, instruct
        prompt = Prompt.from_json(self.tokens.prompt or {})
        self._check(tokens_path, prompt)
        self.encoder = InstructEncoder(
            self.tokens.tokenizer,
            TokenizeConfig(**self.tokens.recipe),
            prompt,
            self.labels,
        )
        self.train_rows = self.tokens.splits[TRAIN].select_columns(["input_ids", "labels"])
        self.validation_ids = self.tokens.splits[VALIDATION]["input_ids"]

    def _check(self, tokens_path: Path, prompt: Prompt) -> None:
        if prompt != render(self.tokens.tokenizer, self.instruct, self.labels):
            raise UserError(
                f"{tokens_path} was made with another prompt, verbalizer or chat template than the "
                "instruct settings give; tokenize again"
            )
        if self.instruct.length_normalization and self.labels.task == "multi":
            raise UserError(
                "instruct.length_normalization is for one label a text; leave it out for sets"
            )

    def build(self) -> PeftModel:
        model = load_causal(self.base, self.base_config, self.dtype)
        if self.training.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return add_adapter(model, self.lora, self.base.source)

    def bare(self, directory: Path) -> PeftModel:
        model = bare_model(AutoModelForCausalLM, directory)
        return add_adapter(model, self.lora, self.base.source)

    @contextmanager
    def shortcut(self, model: PeftModel) -> Iterator[Frozen]:
        with shared_prefix(model, self.encoder.prefix) as self.shared:
            rows = zip(*self._read(self.train_rows[:]), strict=True)
            texts = {TRAIN: [[*context, *answer] for context, answer in rows]}
            key = [*self.frozen_key(), () if self.shared is None else self.shared.ids]
            with frozen_layers(self._way(model), self.training, key, texts) as frozen:
                yield frozen

    def _way(self, model: PeftModel) -> Pass:
        decoder = model.get_base_model().base_model

        def run(**inputs: Any) -> Tensor:
            return decoder(**inputs).last_hidden_state  # type: ignore[no-any-return]

        def run_whole(ids: Tensor, mask: Tensor) -> Tensor:
            return run(input_ids=ids, attention_mask=mask, use_cache=False)

        pad_id = self.encoder.pad_id
        if self.shared is None:
            return Pass(model, run_whole, pad_id)
        return SharedPass(model, run, pad_id, self.shared)

    def task(self, model: PeftModel) -> Task:
        weights = np.ones(len(self.labels), dtype=np.float32)
        if self.training.class_weights == "balanced":
            weights = balanced_weights(self.train_truth, self.labels.task).numpy()

        def loss(module: nn.Module, rows: Rows) -> Tensor:
            return self._loss(module, rows, weights.tolist())

        def validate() -> tuple[dict[str, float], Logits]:
            with self.frozen.whole(), Ticker("validate", len(self.validation_ids)) as ticker:
                answerer = make_answerer(model, self.encoder, self.instruct)
                logits = answerer.answer(self.validation_ids, PASS_ROWS, ticker.update).logits
            return validation_metrics(logits, self.validation_truth, self.labels), logits

        shared = 0 if self.shared is None else len(self.shared.ids)
        return Task(model, self._lengths(), loss, validate, shared=shared)

    def _loss(self, module: nn.Module, rows: Rows, weights: list[float]) -> Tensor:
        """Sum of the rows' losses, each answer token's times its label's weight."""
        batch = self.train_rows[rows]
        contexts, written = self._read(batch)
        with self.frozen.given(TRAIN, rows):
            if self.shared is None:
                losses = answer_losses(module, contexts, written, self.encoder.pad_id)
            else:
                losses = self.shared.answer_losses(module, contexts, written)
        weighed = [self.encoder.answers.weigh(labels, weights) for labels in batch["labels"]]
        padded = [row + [0.0] * (losses.shape[1] - len(row)) for row in weighed]
        return (losses * torch.tensor(padded, device=device())).sum()

    def _read(self, batch: dict[str, Any]) -> tuple[list[list[int]], list[list[int]]]:
        """Contexts, without the prefix if it is shared, and answers."""
        before = self.encoder.prefix if self.shared is None else ()
        contexts = [[*before, *ids, *self.encoder.suffix] for ids in batch["input_ids"]]
        return contexts, [self.encoder.answers.write(labels) for labels in batch["labels"]]

    def _lengths(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Tokens of each training row, prompt and answer included, (n,)."""
        answers = [len(self.encoder.answers.write(ids)) for ids in self.train_rows["labels"]]
        around = len(self.encoder.prefix) + len(self.encoder.suffix)
        return row_lengths(self.tokens.splits[TRAIN]) + np.array(answers, dtype=np.int64) + around

    def classifier(self, model: PeftModel, validation_logits: Logits) -> InstructClassifier:
        return InstructClassifier(
            model,
            self.encoder,
            self.labels,
            self.base,
            self.base_config,
            self.instruct,
            fit_calibration(validation_logits, self.validation_truth, self.labels),
        )
