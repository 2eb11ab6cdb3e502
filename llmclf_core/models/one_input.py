"""Adapted linear layers that read one input, on a processor computed by one function.

An attention's queries, keys and values are made of one input, and so are the two factors of a gated
feed-forward part. Apart, each reads it again for its low-rank product, and gradients of it come one
by one: adding them up passes over memory as often, and takes as long as the low-rank products do.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import groupby
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from llmclf_core.models.bfloat16 import WideLinear, product_dtype
from llmclf_core.models.dropout import MASKED, Dropout, zero_where_dropped
from llmclf_core.models.low_rank import as_rows

_LINEAR = (nn.Linear, WideLinear, Linear4bit)
_ADAPTER = "default"


def compute_together(model: PeftModel) -> None:
    """Let a model's adapted layers be computed by this module: wherever they are trained on a
    processor, and their input has the type that they multiply in.

    Which read one input is seen in a trial with a few tokens; those of a model that cannot be tried
    so are computed one by one.
    """
    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    layers = [m for m in layers if type(m.get_base_layer()) in _LINEAR]
    calls = _calls(model, layers)
    often = {layer for layer, number in Counter(layer for layer, _ in calls).items() if number > 1}
    for _, together in groupby(calls, key=lambda call: (id(call[1]), call[0].in_features)):
        group = [layer for layer, _ in together]
        if not often.intersection(group):
            _group(group)
    for layer in layers:
        if not hasattr(layer, "one_input"):
            _group([layer])


@torch.no_grad()
def _calls(model: PeftModel, layers: list[Any]) -> list[tuple[Any, Tensor]]:
    """Layers in the order of their calls, and what each is given."""
    calls: list[tuple[Any, Tensor]] = []
    handles = [
        layer.register_forward_pre_hook(lambda layer, inputs: calls.append((layer, inputs[0])))
        for layer in layers
    ]
    where, training = next(model.parameters()).device, model.training
    try:
        model.eval()(input_ids=torch.arange(8, device=where).view(2, 4))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return []
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return calls


def _group(layers: list[Any]) -> None:
    group = OneInput(layers)
    for layer in layers:
        layer.one_input = group
        layer.__class__ = _member(type(layer))  # type: ignore[arg-type]


@cache
def _member(kind: Any) -> Any:
    """A subclass of PEFT's that asks its group for what it is to give."""

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        apart = args or kwargs or torch.compiler.is_compiling()
        found = None if apart else self.one_input.result(self, x)
        return kind.forward(self, x, *args, **kwargs) if found is None else found

    return type(kind.__name__, (kind,), {"forward": forward})


class OneInput:
    """Layers of one input: the first that is called computes the results of all.

    Args:
        layers: PEFT's, over linear layers of the same width of input, in the order of their calls.
    """

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        self._last: tuple[Tensor, int, dict[int, Tensor]] | None = None
        """The last input, its version (it may be changed in place), and the results of the layers
        that were not called since then."""

    def result(self, layer: Any, x: Tensor) -> Tensor | None:
        """What a layer gives, (…, out) for (…, in); None where it has to compute that itself."""
        if layer is self.layers[0]:
            self._last = self._compute(x) if self._suits(x) else None
        last = self._last
        if last is None or last[0] is not x or last[1] != x._version:
            return None
        result = last[2].pop(id(layer), None)
        if not last[2]:
            self._last = None
        return result

    def _suits(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and torch.is_grad_enabled()
            and not x.is_inference()  # has no version
            and not torch.is_autocast_enabled("cpu")
            and x.element_size() in MASKED
            and all(_is_plain(layer, x.dtype) for layer in self.layers)
        )

    def _compute(self, x: Tensor) -> tuple[Tensor, int, dict[int, Tensor]]:
        dropout = self.layers[0].lora_dropout[_ADAPTER]
        mask, factor = dropout.mask(x) if isinstance(dropout, Dropout) else (None, 1.0)
        scales = [layer.scaling[_ADAPTER] * factor for layer in self.layers]
        factors = [
            factors[_ADAPTER].weight
            for layer in self.layers
            for factors in (layer.lora_A, layer.lora_B)
        ]
        bases = [layer.get_base_layer() for layer in self.layers]
        results = _Products.apply(x, mask, bases, scales, *factors)  # type: ignore[no-untyped-call]
        of = {id(layer): y for layer, y in zip(self.layers, results, strict=True)}
        return x, x._version, of


def _is_plain(layer: Any, dtype: torch.dtype) -> bool:
    """Whether a layer computes its base's product and the adapter's, and nothing else."""
    base, dropout = layer.get_base_layer(), layer.lora_dropout[_ADAPTER]
    bias = base.bias
    return (
        not (layer.disable_adapters or layer.merged)
        and layer.active_adapters == [_ADAPTER]
        and not base.weight.requires_grad
        and (bias is None or (bias.dtype == dtype and not bias.requires_grad))
        and (base.compute_dtype if isinstance(base, Linear4bit) else base.weight.dtype) == dtype
        and (isinstance(dropout, nn.Identity) or (type(dropout) is Dropout and dropout.p < 1))
    )


class _Products(torch.autograd.Function):
    """For each layer x Wᵀ + b + d(x) Aᵀ Bᵀ · scale, d being one dropout for all."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mask: Tensor | None,
        bases: list[Any],
        scales: list[float],
        *factors: Tensor,
    ) -> tuple[Tensor, ...]:
        dtype = product_dtype(x)
        rows, kept = as_rows(x, dtype), x if mask is None else zero_where_dropped(x, mask)
        down = torch.cat(factors[::2]).to(dtype)
        ups = [up.to(dtype) for up in factors[1::2]]
        ranks = [up.shape[1] for up in ups]
        apart = torch.split(as_rows(kept, dtype) @ down.T, ranks, 1)
        lows = [low * scale for low, scale in zip(apart, scales, strict=True)]
        results = [
            _product(x, rows, base, low, up) for base, low, up in zip(bases, lows, ups, strict=True)
        ]
        ctx.bases, ctx.scales, ctx.dtype = bases, scales, factors[0].dtype
        ctx.save_for_backward(kept, mask, down, *lows, *ups)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        kept, mask, down, *others = ctx.saved_tensors
        lows, ups = others[: len(grads)], others[len(grads) :]
        rows = [as_rows(grad, down.dtype) for grad in grads]
        of_lows = [(g @ up).mul_(s) for g, up, s in zip(rows, ups, ctx.scales, strict=True)]
        of_low = torch.cat(of_lows, 1)
        of_down = (of_low.T @ as_rows(kept, down.dtype)).to(ctx.dtype)
        of_downs = torch.split(of_down, [low.shape[1] for low in lows])
        of_ups = [(g.T @ low).to(ctx.dtype) for g, low in zip(rows, lows, strict=True)]
        of_factors = [g for pair in zip(of_downs, of_ups, strict=True) for g in pair]
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = of_low @ down
            if mask is not None:
                of_x = zero_where_dropped(of_x, mask.view(of_x.shape))
            for g, base in zip(rows, ctx.bases, strict=True):
                of_x.addmm_(g, _weight(base, down.dtype))
            of_x = of_x.to(kept.dtype).view(kept.shape)
        return of_x, None, None, None, *of_factors


def _product(x: Tensor, rows: Tensor, base: Any, low: Tensor, up: Tensor) -> Tensor:
    """A layer's own product of (rows, in), and the adapter's of (rows, rank), added: (…, out).

    Not a view, which would not let a model change it in place.
    """
    weight = _weight(base, rows.dtype)
    result = rows.new_empty(*x.shape[:-1], len(weight))
    flat = result.view(-1, len(weight))
    if base.bias is None:
        torch.mm(rows, weight.T, out=flat)
    else:
        torch.addmm(base.bias.to(rows.dtype), rows, weight.T, out=flat)
    flat.addmm_(low, up.T)
    return result.to(x.dtype)


def _weight(base: Any, dtype: torch.dtype) -> Tensor:
    """(out, in), de-quantised."""
    weight: Tensor = base.weight
    if isinstance(base, Linear4bit):
        weight = dequantize_4bit(base.weight, base.weight.quant_state)
    return weight.to(dtype)
