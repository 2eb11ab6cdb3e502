"""Attention on processors, by plain matrix products over blocks of queries.

PyTorch's own kernel for processors spends most of its time beside the matrix products, above all in
the backward pass. Here a block of queries is multiplied with all keys that it may see, by the
library that multiplies everything else; keys behind the last one that a block sees are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from llmclf_core.models.bfloat16 import product_dtype
from llmclf_core.processes import on_cpu

BLOCKED = "sdpa_blocked"
"""Attention of this module: transformers' sdpa wherever it does not suit."""

_QUERIES = 64
"""Of a block."""
_KEPT = 1024
"""Weights of longer sequences are computed again in the backward pass: they would take more memory
than everything else."""


def use_blocked_attention(model: Any) -> None:
    """On a processor, let a transformers model that attends by sdpa attend by this module."""
    if on_cpu() and model.config._attn_implementation == "sdpa" and model.is_backend_compatible():
        AttentionInterface.register(BLOCKED, attend)
        AttentionMaskInterface.register(BLOCKED, sdpa_mask)
        model.set_attn_implementation(BLOCKED)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    ends: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """As transformers calls an attention.

    Args:
        module: the attention layer.
        query: (batch, heads, queries, width).
        key: (batch, key heads, keys, width).
        value: like keys.
        attention_mask: which keys the queries see, or what is added to their scores; None where
            attention is causal or whole.
        ends: the mask is a causal one for queries that stand at the keys' end.
        **kwargs: dropout, scaling and so on.

    Returns:
        (batch, queries, heads, width), and no weights.
    """
    scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if _suits(query, value, kwargs):
        if ends or (attention_mask is None and _is_causal(module, query, key, kwargs)):
            return causal_attention(query, key, value, scaling), None
        if attention_mask is not None and _is_added(attention_mask, query):
            return masked_attention(query, key, value, attention_mask, scaling), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]


def _is_causal(module: Any, query: Tensor, key: Tensor, kwargs: Any) -> bool:
    told = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if told is None else told
    return bool(causal) and query.shape[2] == key.shape[2] > 1


def _suits(query: Tensor, value: Tensor, kwargs: Any) -> bool:
    return (
        query.device.type == "cpu"
        and query.shape[-1] == value.shape[-1]
        and query.dtype in (torch.float32, torch.bfloat16)
        and not kwargs.get("dropout")
        and not torch.compiler.is_compiling()
    )


def _is_added(mask: Tensor, query: Tensor) -> bool:
    """Whether a mask is added to the scores of all heads alike, and nothing is to be learnt."""
    like_query = mask.dtype == query.dtype and mask.dim() == 4 and mask.shape[1] == 1
    return like_query and mask.shape[2] == query.shape[2] and not torch.is_grad_enabled()


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Attention of queries that stand at the keys' end and never look ahead.

    Args:
        query: (batch, heads, queries, width).
        key: (batch, key heads, keys, width); each serves as many heads as there are to one.
        value: like keys.
        scaling: of the products of queries and keys.

    Returns:
        (batch, queries, heads, width).
    """
    result: Tensor = _Causal.apply(query, key, value, scaling)  # type: ignore[no-untyped-call]
    return result


_LAST_SEEN: MutableMapping[Tensor, tuple[int, list[int]]] = WeakTensorKeyDictionary()
"""For masks in use, their version and :func:`_last_seen`: all layers of a pass have the same."""


def masked_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float
) -> Tensor:
    """Attention through a mask, without gradients.

    Args:
        query: (batch, heads, queries, width).
        key: (batch, key heads, keys, width); each serves as many heads as there are to one.
        value: like keys.
        mask: what is added to the scores, (batch or 1, 1, queries, keys); the dtype's least number
            or -inf for a key that is not seen. Every query sees one.
        scaling: of the products of queries and keys.

    Returns:
        (batch, queries, heads, width).
    """
    blocks, dtype = _Blocks(query, key), product_dtype(query)
    keys, values = blocks.flat(key, dtype) * scaling, blocks.flat(value, dtype)
    batch, heads, length, width = query.shape
    result = query.new_empty(batch, length, heads, width).transpose(1, 2)
    last = _known_last_seen(mask)
    for block in blocks:
        seen = max(last[block.rows])
        scores = blocks.take(block, query, dtype) @ keys[:, :seen].transpose(1, 2)
        scores.view(batch, -1, block.size, seen).add_(mask[:, :, block.rows, :seen])
        blocks.put(block, result, scores.softmax(-1) @ values[:, :seen])
    return result.transpose(1, 2)


def _known_last_seen(mask: Tensor) -> list[int]:
    version = 0 if mask.is_inference() else mask._version  # it may be changed in place
    known = _LAST_SEEN.get(mask)
    if known is None or known[0] != version:
        known = _LAST_SEEN[mask] = version, _last_seen(mask)
    return known[1]


def _last_seen(mask: Tensor) -> list[int]:
    """For each query, the number of keys up to the last one that it sees in any row."""
    seen = (mask > torch.finfo(mask.dtype).min).any(0).squeeze(0)
    places = torch.arange(1, seen.shape[1] + 1)
    return (seen * places).amax(1).clamp(min=1).tolist()


class _Causal(torch.autograd.Function):
    """softmax(q kᵀ · scaling) v, a block of queries after the other."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        blocks, dtype = _Blocks(query, key), product_dtype(query)
        keys, values = blocks.flat(key, dtype) * scaling, blocks.flat(value, dtype)
        batch, heads, length, width = query.shape
        result = query.new_empty(batch, length, heads, width).transpose(1, 2)
        wanted = any(ctx.needs_input_grad)
        kept = []
        for block in blocks:
            weights = blocks.weights(block, query, keys)
            blocks.put(block, result, weights @ values[:, : block.seen])
            if wanted and blocks.keys <= _KEPT:
                kept.append(weights)
        ctx.scaling = scaling
        if wanted:
            ctx.save_for_backward(query, key, value, *kept)
        return result.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, *kept = ctx.saved_tensors
        grad, blocks, dtype = grads[0].transpose(1, 2), _Blocks(query, key), product_dtype(query)
        keys, values = blocks.flat(key, dtype) * ctx.scaling, blocks.flat(value, dtype)
        of_query = torch.empty_like(query)
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        for i, block in enumerate(blocks):
            weights = kept[i] if kept else blocks.weights(block, query, keys)
            rows, seen = blocks.take(block, grad, dtype), slice(block.seen)
            of_values[:, seen].baddbmm_(weights.transpose(1, 2), rows)
            of_weights = rows @ values[:, seen].transpose(1, 2)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, dtype)
            blocks.put(block, of_query, of_scores @ keys[:, seen])
            rows = blocks.take(block, query, dtype)
            of_keys[:, seen].baddbmm_(of_scores.transpose(1, 2), rows)
        of_keys.mul_(ctx.scaling)
        of_key, of_value = (t.view(key.shape).to(key.dtype) for t in (of_keys, of_values))
        return of_query, of_key, of_value, None


class _Block:
    """Queries from ``begin`` to ``end``, which see the first ``seen`` keys at most."""

    def __init__(self, begin: int, end: int, seen: int) -> None:
        self.rows, self.size, self.seen = slice(begin, end), end - begin, seen


class _Blocks:
    """How tensors are cut. Heads that share keys stand one behind the other in a matrix."""

    def __init__(self, query: Tensor, key: Tensor) -> None:
        self.batch, heads, self.queries, self.width = query.shape
        self.key_heads, self.keys = key.shape[1], key.shape[2]
        self.group = heads // self.key_heads

    def __iter__(self) -> Iterator[_Block]:
        before = self.keys - self.queries
        for begin in range(0, self.queries, _QUERIES):
            end = min(begin + _QUERIES, self.queries)
            yield _Block(begin, end, before + end)

    def flat(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Keys or values to (batch · key heads, keys, width)."""
        return states.reshape(-1, self.keys, self.width).to(dtype)

    def take(self, block: _Block, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of (batch, heads, queries, width): a copy, (batch · key heads, rows, width)."""
        rows = states[:, :, block.rows].to(dtype, copy=True, memory_format=torch.contiguous_format)
        return rows.view(-1, self.group * block.size, self.width)

    def put(self, block: _Block, states: Tensor, rows: Tensor) -> None:
        """The way back."""
        states[:, :, block.rows] = rows.view(self.batch, -1, block.size, self.width)

    def weights(self, block: _Block, query: Tensor, keys: Tensor) -> Tensor:
        """Of each query over the keys, which are scaled, (batch · key heads, rows, seen)."""
        rows = self.take(block, query, keys.dtype)
        scores = rows @ keys[:, : block.seen].transpose(1, 2)
        ahead = _ahead(block.size, scores.dtype)
        scores.view(-1, block.size, block.seen)[:, :, block.seen - block.size :] += ahead
        return scores.softmax(-1)


@cache  # each layer and block has the same
def _ahead(size: int, dtype: torch.dtype) -> Tensor:
    """What keeps queries from keys that come later, (size, size)."""
    return torch.full((size, size), -torch.inf, dtype=dtype).triu_(1)
