"""Log-likelihoods of the options that matter, after options that were written before.

The first tokens are known from what was read last. Only options that can still matter by their
first tokens are read on, all of them in one forward pass over a tree; what may come after each of
them is known then, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from llmclf_core.models.label_search import State
from llmclf_core.models.plain_scoring import Sequences, written
from llmclf_core.models.tree_attention import Nodes, Past, Reader
from llmclf_core.models.trie import Trie, log_totals
from llmclf_core.processes import device

NEGLIGIBLE = 1e-5
"""Options may stay unread when, all together, they are so much less likely than the best one."""


class LikelyReading:
    """Contexts that a :class:`~llmclf_core.models.label_scoring.TreeScorer` has read."""

    def __init__(
        self,
        reader: Reader,
        options: Sequences,
        trie: Trie,
        past: Past,
        logits: Tensor,
        negligible: float = NEGLIGIBLE,
    ) -> None:
        """Args:
        reader: reads on.
        options: token ids, none the beginning of another.
        trie: of the options, whole.
        past: the contexts.
        logits: at their last tokens, (n, vocabulary).
        negligible: see :data:`NEGLIGIBLE`; 0 reads every option.
        """
        self._reader, self._options, self._trie, self.past = reader, options, trie, past
        self._margin = math.log(len(options) / negligible) if negligible else math.inf
        self._firsts: dict[tuple[int, State], Tensor] = {}
        self._root = (self._trie.parents == 0).nonzero().squeeze(1)
        for row, first in enumerate(self._first_edges(logits)):
            self._firsts[row, ()] = first

    def score(self, rows: Sequence[int], states: Sequence[State]) -> Tensor:
        """See :class:`llmclf_core.models.label_scoring.Reading`."""
        self._read_firsts(rows, states)
        known = (self._trie.parents == 0).repeat(len(rows), 1)
        edges = torch.zeros(known.shape, device=device())
        edges[:, self._root] = torch.stack(
            [self._firsts[key] for key in zip(rows, states, strict=True)]
        )
        may_come = self._may_come(states)
        while True:
            scores = self._trie.along(edges).sum(-1).masked_fill(~may_come, -math.inf)
            best = scores.max(1, keepdim=True).values
            whole = self._trie.along(known, filled=True).all(-1)
            wanted = may_come & ~whole & (scores > best - self._margin)
            asking = wanted.any(1).nonzero().squeeze(1).tolist()
            if not asking:
                return scores
            some_rows, some_states = [rows[i] for i in asking], [states[i] for i in asking]
            found, seen = self._read_options(some_rows, some_states, wanted[asking])
            edges[asking] = torch.where(seen, found, edges[asking])
            known[asking] |= seen

    def _may_come(self, states: Sequence[State]) -> Tensor:
        """Which options stand behind the last one written, (m, n_options), bool."""
        begin = torch.tensor([s[-1] + 1 if s else 0 for s in states], device=device())
        return torch.arange(len(self._options), device=device()) >= begin.unsqueeze(1)

    def _read_firsts(self, rows: Sequence[int], states: Sequence[State]) -> None:
        """Where a state was thought negligible before, and so nothing is known of it."""
        keys = [key for key in zip(rows, states, strict=True) if key not in self._firsts]
        if not keys:
            return
        past = self.past.take([row for row, _ in keys])
        begun = [written(self._options, state) for _, state in keys]
        logits, _ = self._reader.read(past, begun, Nodes.none(len(keys)))
        self._firsts.update(zip(keys, self._first_edges(logits[:, 0]), strict=True))

    def _first_edges(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the edges that leave node 0, (…, n of them), float32."""
        chosen = logits[..., self._trie.edges[self._root]].float()
        return chosen - log_totals(logits).unsqueeze(-1)

    def _read_options(
        self, rows: Sequence[int], states: Sequence[State], wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read wanted options, (m, n_options), bool, to their ends.

        Returns:
            Log-probabilities of the edges that leave their nodes, and which edges these are, both
            (m, n_edges).
        """
        trie = self._trie
        places, nodes = trie.some(trie.on_way(wanted))
        past, begun = self.past.take(rows), [written(self._options, state) for state in states]
        logits = self._reader.read(past, begun, nodes)[0][:, 1:]
        totals = log_totals(logits)
        # A place of -1 reads the last node's logits; these edges do not count.
        at = places[:, trie.parents]
        m = torch.arange(len(rows), device=device()).unsqueeze(1)
        edges = logits[m, at, trie.edges].float() - totals[m, at]
        self._note_firsts(rows, states, wanted, places, logits, totals)
        return edges, at >= 0

    def _note_firsts(
        self,
        rows: Sequence[int],
        states: Sequence[State],
        wanted: Tensor,
        places: Tensor,
        logits: Tensor,
        totals: Tensor,
    ) -> None:
        """What may come behind each of the options that were read."""
        row, option = wanted.nonzero(as_tuple=True)
        end = places[row, self._trie.ends[option]]
        first = self._trie.edges[self._root]
        found = logits[row.unsqueeze(1), end.unsqueeze(1), first].float()
        found -= totals[row, end].unsqueeze(1)
        for i, j, edges in zip(row.tolist(), option.tolist(), found, strict=True):
            self._firsts[rows[i], (*states[i], j)] = edges
