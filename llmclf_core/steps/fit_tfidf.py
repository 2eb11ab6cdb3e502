"""The fit-tfidf step: TF-IDF and logistic regression, from a corpus to a classifier."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmclf_core.approaches.tfidf import TfidfClassifier, fit_vectorizer, linear_logits
from llmclf_core.artifacts import TRAIN, VALIDATION, Corpus
from llmclf_core.config import TfidfConfig
from llmclf_core.models.regression import fit_regression
from llmclf_core.steps.fit import Chosen, FitJob, Stopwatch, Weights, choose
from llmclf_core.tokens.texts import clean_texts

if TYPE_CHECKING:  # it imports torch, whose memory would count as this approach's
    from llmclf_core.training.loop import LogMetrics

log = logging.getLogger(__name__)


def fit_tfidf(corpus_path: Path, config: TfidfConfig, output: Path) -> TfidfClassifier:
    """Fit, calibrate on the validation rows, save the classifier.

    Args:
        corpus_path: a saved :class:`Corpus`; its test rows are not read.
        config: features, and the regularisations to choose from.
        output: directory of the classifier.

    Raises:
        UserError: for an unreadable corpus, one without training or validation rows or without a
            feature, an unwritable output.
    """
    return _TfidfJob(corpus_path, config).run(output)


class _TfidfJob(FitJob[TfidfClassifier]):
    approach: ClassVar[str] = TfidfClassifier.approach

    def __init__(self, corpus_path: Path, config: TfidfConfig) -> None:
        corpus = Corpus.load(corpus_path)
        corpus.check_trainable(corpus_path)
        self.config, self.labels = config, corpus.labels
        self.train_rows, self.validation_rows = corpus.splits[TRAIN], corpus.splits[VALIDATION]
        self.train_truth = self.labels.indicators(self.train_rows["labels"])
        self.validation_truth = self.labels.indicators(self.validation_rows["labels"])
        super().__init__(
            {"approach": self.approach, "tfidf": config.model_dump()},
            {TRAIN: len(self.train_rows), VALIDATION: len(self.validation_rows)},
            {"corpus": corpus.fingerprint},
        )

    def fit(self, log_metrics: LogMetrics, watch: Stopwatch) -> tuple[TfidfClassifier, Chosen]:
        log.info("counting the words of %d texts", len(self.train_rows))
        vectorizer = fit_vectorizer(self.train_rows["text"], self.config)
        x = vectorizer.transform(clean_texts(self.train_rows["text"]))
        log.info("%d features", x.shape[1])
        validation = vectorizer.transform(clean_texts(self.validation_rows["text"]))

        def weights(c: float) -> Weights:
            weight, bias = fit_regression(x, self.train_truth, self.labels.task, c)
            return weight.astype(np.float32), bias.astype(np.float32)

        chosen = choose(
            self.config.c,
            weights,
            lambda fitted: linear_logits(validation, *fitted),
            self.validation_truth,
            self.labels,
            log_metrics,
        )
        vocabulary = vectorizer.get_feature_names_out().tolist()
        classifier = TfidfClassifier(
            self.labels, self.config, vocabulary, vectorizer.idf_, *chosen.weights
        )
        return classifier, chosen
