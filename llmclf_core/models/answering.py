"""Logits and the best answer of documents inside a prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmclf_core.models.label_scoring import Scorer, make_scorer
from llmclf_core.models.label_search import State, best_sets
from llmclf_core.tokens.answers import Answers
from llmclf_core.tokens.batching import sorted_batches
from llmclf_core.tokens.instruct import InstructEncoder

log = logging.getLogger(__name__)

Documents = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Answered:
    """What a model says of n documents.

    Attributes:
        logits: float32, (n, n_labels). Single-label: log-likelihoods of the labels' words.
            Multi-label: as :func:`llmclf_core.models.label_search.marginal_logits`.
        labels: label ids of the best answer of each.
    """

    logits: npt.NDArray[np.float32]
    labels: list[State]


class Answerer:
    """A model that no longer changes, and how its answers are read.

    Safe to call from several threads.
    """

    def __init__(
        self, model: Any, encoder: InstructEncoder, length_normalization: bool, search_steps: int
    ) -> None:
        """Args:
        model: a causal language model in evaluation mode, with or without an adapter.
        encoder: prompt and answers.
        length_normalization, search_steps: see :class:`llmclf_core.config.InstructConfig`.
        """
        self.answers: Answers = encoder.answers
        self.suffix = encoder.suffix
        self.steps = search_steps
        lengths = np.array([len(ids) for ids in self.answers.labels], dtype=np.float32)
        self.divisors = lengths if length_normalization else np.ones_like(lengths)
        with torch.inference_mode():
            self.scorer: Scorer = make_scorer(
                model, self.answers.options, encoder.prefix, encoder.pad_id
            )

    @torch.inference_mode()
    def answer(
        self, documents: Documents, batch_size: int, told: Callable[[int], None] = lambda n: None
    ) -> Answered:
        """Answer for documents in batches of like length.

        Args:
            documents: token ids without the prompt.
            batch_size: documents in a forward pass, fewer where options are many.
            told: called with the number of documents, as they are done.
        """
        logits = np.zeros((len(documents), len(self.answers.labels)), dtype=np.float32)
        labels: list[State] = [()] * len(documents)
        lengths = np.array([len(d) for d in documents], dtype=np.int64)
        for rows in sorted_batches(lengths, min(batch_size, self.scorer.rows)):
            contexts = [[*documents[i], *self.suffix] for i in rows]
            one = self._single if self.answers.task == "single" else self._multi
            logits[rows], best = one(contexts)
            for i, found in zip(rows, best, strict=True):
                labels[i] = found
            told(len(rows))
        return Answered(logits, labels)

    def _single(self, contexts: Documents) -> tuple[npt.NDArray[np.float32], list[State]]:
        logits: npt.NDArray[np.float32] = self.scorer.score(contexts).cpu().numpy()
        logits /= self.divisors
        return logits, [(int(i),) for i in logits.argmax(1)]

    def _multi(self, contexts: Documents) -> tuple[npt.NDArray[np.float32], list[State]]:
        reading = self.scorer.read(contexts)

        def options(texts: Sequence[int], states: Sequence[State]) -> npt.NDArray[np.floating]:
            return reading.score(texts, states).cpu().numpy()

        found = best_sets(options, len(contexts), self.steps)
        if open_ended := sum(not f.exact for f in found):
            log.info(
                "%d of %d texts: the best set of labels is not proven after %d steps "
                "(instruct.search_steps)", open_ended, len(found), self.steps,
            )  # fmt: skip
        return np.array([f.logits for f in found], dtype=np.float32), [f.labels for f in found]
