"""The lowest layers of a decoder, in which nothing trains: run alone, or left out of a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from torch import Tensor, nn

from llmclf_core.errors import UserError


class LowerLayers:
    """The first ``count`` layers of a decoder, whose output is the same in every epoch.

    Attributes:
        count: how many there are.
    """

    def __init__(self, layers: nn.ModuleList, count: int) -> None:
        self.count = count
        self._layers, self._own = layers, list(layers[:count])
        self._gate = _Gate(self._own[-1])

    def output(self, run: Callable[[], Any]) -> Tensor:
        """Hidden states that leave them, (batch, length, hidden).

        Args:
            run: a pass through the model; it ends behind these layers.
        """
        found: list[Tensor] = []

        def take(module: nn.Module, inputs: Any, output: Any) -> None:
            self._gate.wraps = isinstance(output, tuple)
            found.append(output[0] if isinstance(output, tuple) else output)
            raise _TakenError

        handle = self._own[-1].register_forward_hook(take)
        try:
            run()
        except _TakenError:
            return found[0]
        finally:
            handle.remove()
        raise RuntimeError("the pass did not come through the model's layers")

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Inside, passes do not compute them; each needs :meth:`giving`."""
        self._put([*map(_Passing, self._own[:-1]), self._gate])
        try:
            yield
        finally:
            self._put(self._own)

    @contextmanager
    def back(self) -> Iterator[None]:
        """Inside :meth:`left_out`: passes compute them for once."""
        without = list(self._layers[: self.count])
        for layer in self._own:  # while they were away, the model's mode may have changed
            layer.train(self._gate.training)
        self._put(self._own)
        try:
            yield
        finally:
            self._put(without)

    @contextmanager
    def giving(self, states: Tensor) -> Iterator[None]:
        """Inside, a pass goes on from these hidden states, (batch, length, hidden)."""
        self._gate.states = states
        try:
            yield
        finally:
            self._gate.states = None

    def _put(self, layers: Sequence[nn.Module]) -> None:
        for i, layer in enumerate(layers):
            self._layers[i] = layer


class _TakenError(Exception):
    """Ends a pass whose rest nobody needs."""


class _Passing(nn.Module):
    """In the place of a layer whose output nobody reads."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.wraps = False
        if hasattr(layer, "attention_type"):  # decoders choose the layer's mask by it
            self.attention_type = layer.attention_type

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden_states,) if self.wraps else hidden_states


class _Gate(_Passing):
    """In the place of the last of them."""

    states: Tensor | None = None

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        if self.states is None:
            raise RuntimeError("the lower layers were left out, and nothing is given for them")
        return super().forward(self.states)


def lower_layers(model: Any) -> LowerLayers:
    """The layers below the lowest one that trains.

    Args:
        model: a transformers decoder, with or without an adapter, ready to be trained.

    Raises:
        UserError: when there are none, or what they give changes from pass to pass; it says why.
    """
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    layers = layers_of(plain)
    if layers is None:
        raise UserError("the base model's layers cannot be told apart")
    count = next((i for i, layer in enumerate(layers) if _trains(layer)), len(layers))
    if count == 0:
        raise UserError("all layers of the base model train; set lora.top_layers")
    if _trains(plain.get_input_embeddings()):
        raise UserError("the base model's input embeddings train")
    if any(_drops(module) for module in _not_above(plain, layers, count)):
        raise UserError("the base model has dropout, which differs in every pass")
    return LowerLayers(layers, count)


def layers_of(model: Any) -> nn.ModuleList | None:
    """A transformers decoder's layers, or None when they cannot be told apart."""
    total = int(model.config.get_text_config(decoder=True).num_hidden_layers)
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total]
    return found[0] if len(found) == 1 else None


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _not_above(model: nn.Module, layers: nn.ModuleList, count: int) -> Iterator[nn.Module]:
    above = {id(module) for layer in layers[count:] for module in layer.modules()}
    return (module for module in model.modules() if id(module) not in above)


def _drops(module: nn.Module) -> bool:
    share = module.p if isinstance(module, nn.Dropout) else getattr(module, "attention_dropout", 0)
    return isinstance(share, int | float) and share > 0
