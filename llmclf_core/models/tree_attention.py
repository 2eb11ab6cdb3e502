"""Read sequences, and a tree of tokens behind each, in one forward pass.

By tree attention (arXiv 2305.09781, section 4): the tree's nodes stand behind a sequence, and a
node sees what was read before and its own ancestors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from llmclf_core.models.last_layer import at_places, only_read_at
from llmclf_core.processes import device

Sequences = Sequence[Sequence[int]]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Past:
    """Keys and values of tokens that were read; never modified.

    Attributes:
        layers: keys and values of each layer, (rows, heads, length, width).
        mask: which are real, (rows, length), bool.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor

    def take(self, rows: Sequence[int]) -> Past:
        """Some rows, or one of them several times."""
        if list(rows) == list(range(len(self.mask))):
            return self
        index = torch.tensor(rows, dtype=torch.int64, device=self.mask.device)
        layers = tuple((k.index_select(0, index), v.index_select(0, index)) for k, v in self.layers)
        return Past(layers, self.mask.index_select(0, index))

    def cache(self) -> DynamicCache:
        """For the model to extend: that makes new tensors."""
        return DynamicCache(list(self.layers))


@dataclass(frozen=True)
class Nodes:
    """A tree of tokens for each row, children behind their parents, padding last.

    Attributes:
        tokens: (rows, nodes), int64.
        depths: distance from the sequence before, from 1, (rows, nodes), int64.
        sees: which nodes each sees, itself included, (rows, nodes, nodes), bool.
    """

    tokens: Tensor
    depths: Tensor
    sees: Tensor

    @classmethod
    def none(cls, rows: int) -> Nodes:
        """No node for any row."""
        nothing = torch.zeros(rows, 0, dtype=torch.int64, device=device())
        sees = torch.zeros(rows, 0, 0, dtype=torch.bool, device=device())
        return cls(nothing, nothing, sees)


@dataclass(frozen=True)
class Reader:
    """A causal language model that reads sequences with trees.

    Attributes:
        model: its layers attend to all that the mask lets through; torch's gradients are off.
        pad_id: fills batches.
        side: of the padding.
    """

    model: Any
    pad_id: int
    side: Side = "left"

    def read(self, past: Past | None, sequences: Sequences, nodes: Nodes) -> tuple[Tensor, Past]:
        """Read on top of what was read before.

        Returns:
            Logits at each sequence's last token, of no meaning where it is empty, and at its nodes,
            (batch, 1 + n_nodes, vocabulary); and what was read, the trees not included.
        """
        ids, mask = pad_side(sequences, self.pad_id, self.side)
        width, n_nodes = ids.shape[1], nodes.tokens.shape[1]
        before = mask.new_zeros(len(mask), 0) if past is None else past.mask
        read = before.sum(1, keepdim=True)
        places = (read + mask.cumsum(1) - 1).clamp(min=0)
        behind = read + mask.sum(1, keepdim=True) + nodes.depths - 1
        node_places = torch.arange(width, width + n_nodes, device=ids.device).expand(len(ids), -1)
        keep = torch.cat([_last(mask), node_places], 1)
        with only_read_at(at_places(keep, width + n_nodes)):
            output = self.model(
                input_ids=torch.cat([ids, nodes.tokens], 1),
                attention_mask=self._bias(_visible(before, mask, nodes)),
                position_ids=torch.cat([places, behind], 1),
                past_key_values=None if past is None else past.cache(),
                use_cache=True,
                logits_to_keep=keep,
            )
        kept = before.shape[1] + width
        layers = output.past_key_values.layers
        held = tuple((lay.keys[:, :, :kept], lay.values[:, :, :kept]) for lay in layers)
        return output.logits, Past(held, torch.cat([before, mask], 1))

    def _bias(self, visible: Tensor) -> Tensor:
        """(batch, queries, keys), bool, to what is added to attention scores."""
        dtype = self.model.get_input_embeddings().weight.dtype
        bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return bias.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)


def _visible(before: Tensor, mask: Tensor, nodes: Nodes) -> Tensor:
    """Which keys a query sees, (batch, width + nodes, before + width + nodes), bool."""
    n, width = mask.shape
    queries = width + nodes.tokens.shape[1]
    own = torch.ones(n, queries, queries, dtype=torch.bool, device=mask.device).tril()
    own[:, :, :width] &= mask.unsqueeze(1)
    own[:, width:, width:] = nodes.sees
    # Padding sees itself, for no kernel likes a query that sees nothing.
    own |= torch.eye(queries, dtype=torch.bool, device=mask.device)
    return torch.cat([before.unsqueeze(1).expand(-1, queries, -1), own], 2)


def _last(mask: Tensor) -> Tensor:
    """Place of each row's last real token, (batch, 1)."""
    if not mask.shape[1]:
        return mask.new_zeros(len(mask), 1, dtype=torch.int64)
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
