"""Log-likelihood of every option after a context: one forward pass over a tree of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from llmclf_core.models.causal import plain_attention, vocabulary
from llmclf_core.models.label_reading import LikelyReading
from llmclf_core.models.label_search import State
from llmclf_core.models.plain_scoring import PlainScorer
from llmclf_core.models.tree_attention import Nodes, Past, Reader, Sequences, Side
from llmclf_core.models.trie import Trie
from llmclf_core.processes import device

_LOGITS = 1 << 27
"""Logits in memory at a time, half a gigabyte."""


class Reading(Protocol):
    """Contexts that were read once, after which options are scored any number of times."""

    def score(self, rows: Sequence[int], states: Sequence[State]) -> Tensor:
        """Args:
            rows: numbers of contexts, m of them.
            states: numbers of the options written after each since, ascending.

        Returns:
            Log-likelihood of every option that may come next, those behind the last one written,
            float32, (m, n_options); of no meaning for the others. For options whose likelihoods are
            negligible together it may be an upper bound.
        """
        ...


class Scorer(Protocol):
    """Scores one set of options. Safe to call from several threads.

    Attributes:
        rows: most contexts to give at a time.
    """

    rows: int

    def score(self, contexts: Sequences) -> Tensor:
        """Contexts, token ids without the shared prefix, to log-likelihoods (n, n_options)."""
        ...

    def read(self, contexts: Sequences) -> Reading:
        """Read contexts, none empty, for several scorings."""
        ...


def make_scorer(model: Any, options: Sequences, prefix: Sequence[int], pad_id: int) -> Scorer:
    """The fastest scorer that is right for the model; torch's gradients have to be off.

    Args:
        model: a causal language model, with or without an adapter, that no longer changes.
        options: token ids, none the beginning of another.
        prefix: token ids that all contexts begin with.
        pad_id: fills batches.
    """
    kind = TreeScorer if plain_attention(model) else PlainScorer
    return kind(model, options, prefix, pad_id)


class TreeScorer:
    """For models whose layers attend to all that the mask lets through."""

    def __init__(
        self,
        model: Any,
        options: Sequences,
        prefix: Sequence[int],
        pad_id: int,
        side: Side = "left",
        cache: bool = True,
    ) -> None:
        """Args:
        model, options, prefix, pad_id: as for :func:`make_scorer`.
        side: of the padding.
        cache: read the prefix once, and not with every context.
        """
        self.reader = Reader(model, pad_id, side)
        self.options = options
        self.trie = Trie.build(options, device())
        self.whole = Trie.build(options, device(), whole=True)
        self.rows = max(1, _LOGITS // (self.whole.n_nodes * vocabulary(model)))
        self.prefix = list(prefix)
        self.past = self._prefix_read() if cache and prefix else None

    def _prefix_read(self) -> Past:
        return self.reader.read(None, [self.prefix], Nodes.none(1))[1]

    def score(self, contexts: Sequences) -> Tensor:
        past, begun = self._begun(contexts)
        logits, _ = self.reader.read(past, begun, self.trie.nodes(len(contexts)))
        return self.trie.score(logits)

    def read(self, contexts: Sequences) -> LikelyReading:
        past, begun = self._begun(contexts)
        logits, read = self.reader.read(past, begun, Nodes.none(len(contexts)))
        return LikelyReading(self.reader, self.options, self.whole, read, logits[:, 0])

    def _begun(self, contexts: Sequences) -> tuple[Past | None, Sequences]:
        """What is known of the contexts already, and what is still to be read of them."""
        if self.past is None:
            return None, [[*self.prefix, *context] for context in contexts]
        return self.past.take([0] * len(contexts)), contexts
