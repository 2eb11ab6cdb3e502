"""Log-likelihood of every option after a context: one forward pass over a tree of tokens.

Options are scored together by tree attention (arXiv 2305.09781, section 4): the tree's nodes stand
behind the context in one sequence, and a node sees the context and its own ancestors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from llmclf_core.models.causal import plain_attention, vocabulary
from llmclf_core.models.plain_scoring import PlainScorer
from llmclf_core.models.trie import Trie
from llmclf_core.processes import device

Sequences = Sequence[Sequence[int]]
Side = Literal["left", "right"]

_LOGITS = 1 << 27
"""Logits in memory at a time, half a gigabyte."""


class Reading(Protocol):
    """Contexts that were read once, after which options are scored any number of times."""

    def score(self, rows: Sequence[int], written: Sequences) -> Tensor:
        """Args:
            rows: numbers of contexts, m of them.
            written: token ids written after each since.

        Returns:
            Log-likelihood of every option, float32, (m, n_options).
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


@dataclass(frozen=True)
class Past:
    """Keys and values of tokens that were read; never modified.

    Attributes:
        layers: keys and values of each layer, (rows, heads, length, width).
        mask: which are real, (rows, length), bool.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor

    def take(self, rows: Tensor) -> Past:
        """Some rows, or one of them several times."""
        layers = tuple((k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.layers)
        return Past(layers, self.mask.index_select(0, rows))

    def cache(self) -> DynamicCache:
        """For the model to extend: that makes new tensors."""
        return DynamicCache(list(self.layers))

    @property
    def lengths(self) -> Tensor:
        """Real tokens of each row, (rows,), int64."""
        return self.mask.sum(1)


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
        self.model, self.pad_id, self.side = model, pad_id, side
        self.trie = Trie.build(options, device())
        self.empty = Trie.build([[pad_id]], device())
        self.rows = max(1, _LOGITS // (self.trie.n_nodes * vocabulary(model)))
        self.prefix = list(prefix)
        self.past = self._forward(None, [self.prefix], self.empty)[1] if cache and prefix else None

    def score(self, contexts: Sequences) -> Tensor:
        return self._score(*self._begun(contexts))

    def read(self, contexts: Sequences) -> Reading:
        # The last token is read with what follows it: there the first logits are.
        past, begun = self._begun([context[:-1] for context in contexts])
        if any(begun):
            past = self._forward(past, begun, self.empty)[1]
        return TreeReading(self, past, [context[-1] for context in contexts])

    def _begun(self, contexts: Sequences) -> tuple[Past | None, Sequences]:
        """What is known of the contexts already, and what is still to be read of them."""
        if self.past is None:
            return None, [[*self.prefix, *context] for context in contexts]
        first = torch.zeros(len(contexts), dtype=torch.int64, device=device())
        return self.past.take(first), contexts

    def _score(self, past: Past | None, sequences: Sequences) -> Tensor:
        return self.trie.score(self._forward(past, sequences, self.trie)[0])

    def _forward(self, past: Past | None, sequences: Sequences, trie: Trie) -> tuple[Tensor, Past]:
        """Read sequences and a tree after each, on top of what was read before.

        Returns:
            Logits at the tree's nodes, (batch, n_nodes, vocabulary), and what was read, the tree
            not included.
        """
        ids, mask = pad_side(sequences, self.pad_id, self.side)
        n, width = ids.shape
        n_nodes = len(trie.tokens)
        before = mask.new_zeros(n, 0) if past is None else past.mask
        depths = before.sum(1, keepdim=True) + mask.cumsum(1) - 1
        end = before.sum(1, keepdim=True) + mask.sum(1, keepdim=True)
        positions = torch.cat([depths.clamp(min=0), end + trie.depths - 1], 1)
        nodes = torch.arange(width, width + n_nodes, device=ids.device).expand(n, -1)
        output = self.model(
            input_ids=torch.cat([ids, trie.tokens.expand(n, -1)], 1),
            attention_mask=self._bias(_visible(before, mask, trie)),
            position_ids=positions,
            past_key_values=None if past is None else past.cache(),
            use_cache=True,
            logits_to_keep=torch.cat([_last(mask), nodes], 1),
        )
        kept = before.shape[1] + width
        layers = output.past_key_values.layers
        read = tuple((lay.keys[:, :, :kept], lay.values[:, :, :kept]) for lay in layers)
        return output.logits, Past(read, torch.cat([before, mask], 1))

    def _bias(self, visible: Tensor) -> Tensor:
        """(batch, queries, keys), bool, to what is added to attention scores."""
        dtype = self.model.get_input_embeddings().weight.dtype
        bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return bias.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)


@dataclass(frozen=True)
class TreeReading:
    """What a :class:`TreeScorer` has read, but for each context's last token."""

    scorer: TreeScorer
    past: Past | None
    last: Sequence[int]

    def score(self, rows: Sequence[int], written: Sequences) -> Tensor:
        index = torch.as_tensor(rows, dtype=torch.int64, device=device())
        past = None if self.past is None else self.past.take(index)
        tails = [[self.last[i], *ids] for i, ids in zip(rows, written, strict=True)]
        return self.scorer._score(past, tails)


def _visible(before: Tensor, mask: Tensor, trie: Trie) -> Tensor:
    """Which keys a query sees, (batch, width + nodes, before + width + nodes), bool."""
    n, width = mask.shape
    n_nodes = len(trie.tokens)
    sees = torch.ones(width + n_nodes, width + n_nodes, dtype=torch.bool, device=mask.device).tril()
    sees[width:, width:] = trie.ancestors
    real = torch.cat([mask, mask.new_ones(n, n_nodes)], 1)
    own = sees & real.unsqueeze(1)
    # Padding sees itself, for no kernel likes a query that sees nothing.
    own |= torch.eye(width + n_nodes, dtype=torch.bool, device=mask.device)
    return torch.cat([before.unsqueeze(1).expand(-1, width + n_nodes, -1), own], 2)


def _last(mask: Tensor) -> Tensor:
    """Place of each row's last real token, (batch, 1)."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return (mask * places).argmax(1, keepdim=True)


def pad_side(sequences: Sequences, pad_id: int, side: Side) -> tuple[Tensor, Tensor]:
    """Token ids and which are real (int64 and bool, both (n, longest)), padded on one side."""
    longest = max(len(s) for s in sequences)
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        start = longest - len(sequence) if side == "left" else 0
        ids[i, start : start + len(sequence)] = torch.as_tensor(sequence, dtype=torch.int64)
        mask[i, start : start + len(sequence)] = True
    return ids.to(device()), mask.to(device())
