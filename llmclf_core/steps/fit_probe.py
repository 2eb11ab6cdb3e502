"""The fit-probe step: logistic regression on a frozen LLM, from tokens to a classifier."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from llmclf_core.approaches.probe import ProbeClassifier, frozen_model
from llmclf_core.artifacts import TRAIN, VALIDATION, Tokens
from llmclf_core.config import BaseModelConfig, ProbeConfig, TokenizeConfig
from llmclf_core.models.base import resolve, resolve_dtype
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import HeadModel
from llmclf_core.models.probe import fit_probe as fit_layer
from llmclf_core.steps.fit import Chosen, FitJob, Stopwatch, Weights, choose
from llmclf_core.tokens.batching import PASS_ROWS
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import row_lengths
from llmclf_core.training.loop import LogMetrics

log = logging.getLogger(__name__)


def fit_probe(
    tokens_path: Path, base_config: BaseModelConfig, config: ProbeConfig, output: Path
) -> ProbeClassifier:
    """Embed the rows, fit, calibrate on the validation rows, save the classifier.

    Killed and run again with the same arguments, it embeds only what is not embedded yet.

    Args:
        tokens_path: a saved :class:`Tokens`, made with the tokenizer of the same base.
        base_config: the base model, quantisation and compute type.
        config: pooling, and the regularisations to choose from.
        output: directory of the classifier.

    Raises:
        UserError: for unreadable input, a base model that cannot be found, an unwritable output.
    """
    return _ProbeJob(tokens_path, base_config, config).run(output)


class _ProbeJob(FitJob[ProbeClassifier]):
    approach: ClassVar[str] = ProbeClassifier.approach

    def __init__(
        self, tokens_path: Path, base_config: BaseModelConfig, config: ProbeConfig
    ) -> None:
        tokens = Tokens.load(tokens_path, prompted=False)
        self.splits, self.labels, self.config = tokens.splits, tokens.labels, config
        self.base = resolve(base_config.source, base_config.revision)
        self.base_config = resolve_dtype(base_config)
        self.encoder = Encoder(tokens.tokenizer, TokenizeConfig(**tokens.recipe))
        self.train_truth = self.labels.indicators(self.splits[TRAIN]["labels"])
        self.validation_truth = self.labels.indicators(self.splits[VALIDATION]["labels"])
        super().__init__(
            {
                "approach": self.approach,
                "base": self.base_config.model_dump(),
                "probe": config.model_dump(),
                "tokenize": tokens.recipe,
            },
            {name: len(split) for name, split in self.splits.items()},
            {"corpus": tokens.corpus, "tokens": tokens.fingerprint},
            self.base,
            self.base_config.quantization,
        )

    @property
    def tokens(self) -> int:
        return int(row_lengths(self.splits[TRAIN]).sum())

    def fit(self, log_metrics: LogMetrics, watch: Stopwatch) -> tuple[ProbeClassifier, Chosen]:
        model = frozen_model(self.base, self.base_config, self.config, len(self.labels))
        x, validation = (self._embed(model, name, watch) for name in (TRAIN, VALIDATION))

        def weights(c: float) -> Weights:
            watch.tick()
            return fit_layer(x, self.train_truth, self.labels.task, c)

        chosen = choose(
            self.config.c,
            weights,
            lambda fitted: validation @ fitted[0].T + fitted[1],
            self.validation_truth,
            self.labels,
            log_metrics,
        )
        model.head.fill(*chosen.weights)
        classifier = ProbeClassifier(
            model, self.encoder, self.labels, self.base, self.base_config, self.config
        )
        return classifier, chosen

    def _embed(self, model: HeadModel, name: str, watch: Stopwatch) -> npt.NDArray[np.float32]:
        log.info("embedding %d %s rows", len(self.splits[name]), name)
        return pooled_embeddings(
            model,
            self.splits[name]["input_ids"],
            self.encoder.pad_id,
            PASS_ROWS,
            self.state / f"embeddings-{name}.npy",
            watch.tick,
        )
