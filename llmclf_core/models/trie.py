"""Options that begin alike share their beginning: a trie of token ids, flattened for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmclf_core.models.tree_attention import Nodes
from llmclf_core.processes import on_cpu

_PLACES = 8
"""Whose logits are in float32 at a time on a processor."""


@dataclass(frozen=True)
class Trie:
    """Options as a tree of tokens. An edge is a token that may come next; a node, what leads to it.

    Node 0 is the context, before any token. The last token of an option is an edge without a node:
    it is predicted, and nothing after it is; in a whole trie it has a node, too, and the edge i
    leads to the node i + 1. Children stand behind their parents.

    Attributes:
        tokens: token ids of the nodes but the first, (n_nodes - 1,), int64.
        depths: their distances from the context, from 1, (n_nodes - 1,), int64.
        ancestors: whether a node sees another, itself included, (n_nodes - 1, n_nodes - 1), bool.
        parents: the node that each edge leaves, (n_edges,), int64.
        edges: the token of each edge, (n_edges,), int64.
        paths: edges of each option, filled up with n_edges, (n_options, longest), int64.
        lengths: tokens of each option, (n_options,), int64.
    """

    tokens: Tensor
    depths: Tensor
    ancestors: Tensor
    parents: Tensor
    edges: Tensor
    paths: Tensor
    lengths: Tensor

    @classmethod
    def build(
        cls, options: Sequence[Sequence[int]], device: torch.device, whole: bool = False
    ) -> Trie:
        """Args:
        options: token ids, none empty, none the beginning of another.
        device: where the tensors lie.
        whole: last tokens of options have nodes.
        """
        edges: dict[tuple[int, ...], int] = {}
        nodes: dict[tuple[int, ...], int] = {(): 0}
        for option in map(tuple, options):
            for end in range(1, len(option) + 1):
                edges.setdefault(option[:end], len(edges))
                if whole or end < len(option):
                    nodes.setdefault(option[:end], len(nodes))
        longest = max(len(option) for option in options)
        inner = list(nodes)[1:]

        def tensor(values: Sequence[object]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        return cls(
            tokens=tensor([node[-1] for node in inner]),
            depths=tensor([len(node) for node in inner]),
            ancestors=_ancestors(inner).to(device),
            parents=tensor([nodes[edge[:-1]] for edge in edges]),
            edges=tensor([edge[-1] for edge in edges]),
            paths=tensor([_path(tuple(option), edges, longest) for option in options]),
            lengths=tensor([len(option) for option in options]),
        )

    @property
    def n_nodes(self) -> int:
        """Places where logits are needed, the context among them."""
        return len(self.tokens) + 1

    @property
    def ends(self) -> Tensor:
        """Of a whole trie: the last node of each option, (n_options,), int64."""
        return self.paths.gather(1, self.lengths.unsqueeze(1) - 1).squeeze(1) + 1

    def nodes(self, rows: int) -> Nodes:
        """All nodes but the first, for so many rows."""
        tokens, depths = self.tokens.expand(rows, -1), self.depths.expand(rows, -1)
        return Nodes(tokens, depths, self.ancestors.expand(rows, -1, -1))

    def on_way(self, options: Tensor) -> Tensor:
        """Of a whole trie: the nodes on the way to options, the first one aside.

        Args:
            options: (rows, n_options), bool.

        Returns:
            (rows, n_nodes - 1), bool.
        """
        shape = (len(self.paths), self.n_nodes)  # the last column for what fills paths up
        way = torch.zeros(shape, device=self.paths.device).scatter_(1, self.paths, 1.0)
        return (options.float() @ way)[:, :-1] > 0

    def some(self, kept: Tensor) -> tuple[Tensor, Nodes]:
        """Some nodes of each row, without the others.

        Args:
            kept: which, with every node its ancestors, (rows, n_nodes - 1), bool.

        Returns:
            The place of every node among those of its row, or -1, (rows, n_nodes), int64, and the
            nodes.
        """
        places = torch.where(kept, kept.cumsum(1) - 1, -1)
        most = int(kept.sum(1).max())
        # A stable sort of the rest behind the kept.
        order = (~kept).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
        real = kept.gather(1, order)
        sees = self.ancestors[order.unsqueeze(2), order.unsqueeze(1)]
        sees = sees & real.unsqueeze(1) & real.unsqueeze(2)
        places = torch.nn.functional.pad(places, (1, 0), value=-1)
        return places, Nodes(self.tokens[order], self.depths[order], sees)

    def along(self, edges: Tensor, filled: bool = False) -> Tensor:
        """Figures of edges along the way to each option.

        Args:
            edges: (batch, n_edges).
            filled: stands where an option has fewer edges than the longest.

        Returns:
            (batch, n_options, longest).
        """
        return torch.nn.functional.pad(edges, (0, 1), value=filled)[:, self.paths]

    def score(self, logits: Tensor) -> Tensor:
        """Log-likelihood of every option.

        Args:
            logits: at every node, (batch, n_nodes, vocabulary).

        Returns:
            float32, (batch, n_options).
        """
        chosen = logits[:, self.parents, self.edges].float() - log_totals(logits)[:, self.parents]
        return self.along(chosen).sum(-1)


def log_totals(logits: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials over the vocabulary.

    A few places at a time, as a float32 copy of all would not fit into a processor's caches, and by
    ``log_softmax``, which is several times as fast as ``logsumexp`` there.

    Args:
        logits: (…, vocabulary).

    Returns:
        float32, (…).
    """
    rows = logits.reshape(-1, logits.shape[-1])
    places = torch.split(rows, _PLACES if on_cpu() else max(1, len(rows)))
    # The largest logit is finite where some token is possible at all.
    totals = [some.amax(-1) - some.log_softmax(-1).amax(-1) for some in map(Tensor.float, places)]
    return torch.cat(totals).view(logits.shape[:-1])


def _ancestors(nodes: Sequence[tuple[int, ...]]) -> Tensor:
    sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    number = {node: i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        sees[i, [number[node[:end]] for end in range(1, len(node) + 1)]] = True
    return sees


def _path(option: tuple[int, ...], edges: dict[tuple[int, ...], int], longest: int) -> list[int]:
    taken = [edges[option[:end]] for end in range(1, len(option) + 1)]
    return taken + [len(edges)] * (longest - len(taken))
