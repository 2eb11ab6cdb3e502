"""Log-likelihood of every option the ordinary way: one row a context and option, nothing kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmclf_core.models.label_search import State
from llmclf_core.models.last_layer import at_places, only_read_at
from llmclf_core.models.padding import causal, needed_mask
from llmclf_core.processes import device
from llmclf_core.tokens.batching import pad

Sequences = Sequence[Sequence[int]]

_ROWS = 64
"""Rows in a forward pass."""


def answer_losses(model: Any, contexts: Sequences, answers: Sequences, pad_id: int) -> Tensor:
    """Negative log-likelihood of every answer token after its context; gradients flow.

    Rows are padded on the right, where no causal model looks, so it holds for any architecture.

    Args:
        model: a causal language model.
        contexts: token ids, n of them, none empty.
        answers: token ids of each context's answer, none empty.
        pad_id: fills batches.

    Returns:
        float32, (n, longest answer), 0 behind an answer's end.
    """
    rows = [[*context, *answer] for context, answer in zip(contexts, answers, strict=True)]
    ids, mask = pad(rows, pad_id, device())
    wanted, real = pad(answers, pad_id, device())
    first = torch.tensor([len(context) - 1 for context in contexts], device=ids.device)
    places = first.unsqueeze(1) + torch.arange(wanted.shape[1], device=ids.device)
    places = places.clamp(max=ids.shape[1] - 1)  # behind a short answer's end
    seen = needed_mask(causal(model), mask)
    with only_read_at(at_places(places, ids.shape[1])):
        logits = model(
            input_ids=ids, attention_mask=seen, use_cache=False, logits_to_keep=places
        ).logits
    # By rows of the vocabulary: across them torch adds up one after the other, and loses digits.
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), reduction="none"
    )
    return losses.view_as(wanted) * real


def written(options: Sequences, state: State) -> list[int]:
    """Token ids of the options that a state names."""
    return [token for i in state for token in options[i]]


class PlainScorer:
    """For any causal language model, and what the quicker scorer is measured by."""

    def __init__(self, model: Any, options: Sequences, prefix: Sequence[int], pad_id: int) -> None:
        """Arguments as for :func:`llmclf_core.models.label_scoring.make_scorer`."""
        self.model, self.options, self.prefix, self.pad_id = model, options, prefix, pad_id
        self.rows = max(1, _ROWS // len(options))

    def score(self, contexts: Sequences) -> Tensor:
        pairs = [
            ([*self.prefix, *context], option) for context in contexts for option in self.options
        ]
        scores = []
        for start in range(0, len(pairs), _ROWS):
            texts, options = zip(*pairs[start : start + _ROWS], strict=True)
            scores.append(-answer_losses(self.model, texts, options, self.pad_id).sum(1))
        return torch.cat(scores).view(len(contexts), len(self.options))

    def read(self, contexts: Sequences) -> PlainReading:
        return PlainReading(self, contexts)


@dataclass(frozen=True)
class PlainReading:
    """Contexts that are read again at every scoring."""

    scorer: PlainScorer
    contexts: Sequences

    def score(self, rows: Sequence[int], states: Sequence[State]) -> Tensor:
        pairs = zip(rows, states, strict=True)
        return self.scorer.score(
            [[*self.contexts[i], *written(self.scorer.options, state)] for i, state in pairs]
        )
