"""Options that begin alike share their beginning: a trie of token ids, flattened for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trie:
    """Options as a tree of tokens. An edge is a token that may come next; a node, what leads to it.

    Node 0 is the context, before any token. The last token of an option is an edge without a node:
    it is predicted, and nothing after it is. Children stand behind their parents.

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
    def build(cls, options: Sequence[Sequence[int]], device: torch.device) -> Trie:
        """Args:
        options: token ids, none empty, none the beginning of another.
        device: where the tensors lie.
        """
        edges: dict[tuple[int, ...], int] = {}
        nodes: dict[tuple[int, ...], int] = {(): 0}
        for option in map(tuple, options):
            for end in range(1, len(option) + 1):
                edges.setdefault(option[:end], len(edges))
                if end < len(option):
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

    def score(self, logits: Tensor) -> Tensor:
        """Log-likelihood of every option.

        Args:
            logits: at every node, (batch, n_nodes, vocabulary).

        Returns:
            float32, (batch, n_options).
        """
        logits = logits.float()
        chosen = logits[:, self.parents, self.edges] - logits.logsumexp(-1)[:, self.parents]
        padded = torch.nn.functional.pad(chosen, (0, 1))
        return padded[:, self.paths].sum(-1)


def _ancestors(nodes: Sequence[tuple[int, ...]]) -> Tensor:
    sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    number = {node: i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        sees[i, [number[node[:end]] for end in range(1, len(node) + 1)]] = True
    return sees


def _path(option: tuple[int, ...], edges: dict[tuple[int, ...], int], longest: int) -> list[int]:
    taken = [edges[option[:end]] for end in range(1, len(option) + 1)]
    return taken + [len(edges)] * (longest - len(taken))
