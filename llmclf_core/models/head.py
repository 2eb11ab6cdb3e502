"""Pooling of hidden states and the classification head, joined to a backbone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from llmclf_core.config import HeadConfig
from llmclf_core.models.last_layer import at_places, only_read_at
from llmclf_core.models.padding import causal, needed_mask


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """Hidden state of the last attended token.

    By the attention mask alone: a rule that looks for the pad id is wrong where pad is eos and the
    text itself ends in it.

    Args:
        hidden: (batch, length, hidden).
        mask: (batch, length), 1 for real tokens, on either side of the padding.

    Returns:
        (batch, hidden).
    """
    return hidden[torch.arange(len(hidden), device=hidden.device), last_places(mask)]


def last_places(mask: Tensor) -> Tensor:
    """Place of the last attended token, (batch, length) to (batch,), int64."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask * positions).argmax(dim=1)


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean hidden state of the attended tokens; shapes as :func:`last_token`."""
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1)


class Pooling(nn.Module):
    """Hidden states (batch, length, hidden) and mask (batch, length) to (batch, hidden)."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.kind = kind
        # A zero query weighs all tokens alike: training starts from the mean.
        self.query = nn.Parameter(torch.zeros(hidden)) if kind == "attention" else None

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.query is not None:
            scores = hidden @ self.query / hidden.shape[-1] ** 0.5
            weights = scores.masked_fill(mask == 0, -torch.inf).softmax(dim=1)
            return (weights.unsqueeze(1) @ hidden).squeeze(1)  # type: ignore[no-any-return]
        return last_token(hidden, mask) if self.kind == "last" else mean(hidden, mask)


class ClassificationHead(nn.Module):
    """Pooling, dropout, then one linear layer, or two with tanh between. Always float32."""

    def __init__(self, hidden: int, n_labels: int, config: HeadConfig) -> None:
        super().__init__()
        self.pooling = Pooling(config.pooling, hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(hidden, hidden) if config.layers == 2 else None
        self.out = nn.Linear(hidden, n_labels)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def fill(self, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> None:
        """Set the last layer: (n_labels, hidden) and (n_labels,)."""
        with torch.no_grad():
            self.out.weight.copy_(torch.from_numpy(weight))
            self.out.bias.copy_(torch.from_numpy(bias))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, length, hidden) and (batch, length) to logits (batch, n_labels), float32."""
        pooled = self.dropout(self.pooling(hidden.float(), mask))
        if self.dense is not None:
            pooled = torch.tanh(self.dense(pooled))
        return self.out(pooled)  # type: ignore[no-any-return]


class HeadModel(nn.Module):
    """A backbone (with or without adapter) under a classification head."""

    def __init__(self, backbone: Any, head: ClassificationHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._causal = causal(backbone)

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Last hidden states, (batch, length, hidden); padding on either side.

        Where the head pools the last token, they are of meaning there alone.
        """
        inputs = {"input_ids": input_ids, "use_cache": False}
        mask = needed_mask(self._causal, attention_mask)
        if mask is not None:
            # Positions count real tokens, so that left padding does not shift a text.
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            inputs |= {"attention_mask": mask, "position_ids": positions}
        with self._only_what_is_read(attention_mask):
            output = self.backbone(**inputs)
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _only_what_is_read(self, mask: Tensor) -> AbstractContextManager[None]:
        if self.head.pooling.kind != "last":
            return nullcontext()
        return only_read_at(at_places(last_places(mask).unsqueeze(1), mask.shape[1]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask, both (batch, length), to logits (batch, n_labels), float32."""
        return self.head(  # type: ignore[no-any-return]
            self.hidden_states(input_ids, attention_mask), attention_mask
        )
