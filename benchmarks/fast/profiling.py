"""Where our side's time goes: a turn under PyTorch's profiler, by kinds of operators."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.fast.configs import lora_config
from benchmarks.fast.turns import Clock, StoppedError, Turn, function_of
from benchmarks.fast.work import Case, Record, Work

_KINDS = {
    "base's products": ("mm", "addmm", "addmm_", "gemm_4bit"),
    "adapter's products": (),
    "attention's products": (
        "bmm",
        "baddbmm",
        "baddbmm_",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "softmax": (
        "_softmax",
        "_softmax_backward_data",
        "_log_softmax",
        "_log_softmax_backward_data",
        "logsumexp",
    ),
    "copies and conversions": (
        "copy_",
        "cat",
        "index",
        "index_select",
        "gather",
        "embedding",
        "fill_",
    ),
}
_BASE, _ADAPTER = list(_KINDS)[:2]
_LIBRARIES = ("aten", "bitsandbytes")
_ELEMENTWISE = "elementwise, sums, the rest"
_BETWEEN = "between operators (Python, allocation)"
KINDS = (*_KINDS, _ELEMENTWISE, _BETWEEN)
"""Of what a turn is made up; their shares add up to one."""


def profiled(task: tuple[str, Work], clock: Clock) -> Record:
    """A side that runs another one for a turn to warm up, and for a turn under the profiler.

    Args:
        task: ``module:function`` of the other side, and what it is given.
        clock: its own, of which it takes no turns: it gives them.

    Returns:
        ``amount`` and ``seconds`` of the turn, the profiler's cost included, and ``shares`` of the
        seconds by kind of operator.
    """
    side, work = task
    link = _Link(work.settings.steps)
    with suppress(StoppedError):
        function_of(side)(work, Clock(link))
    _, turn = link.turns
    shares = _shares(link, lora_config(work.settings).rank)
    return {"amount": turn.amount, "seconds": turn.seconds, "shares": shares}


class _Link:
    """Gives two turns; the second is profiled."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.turns: list[Turn] = []
        self.begun = self.seconds = 0.0
        self.profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)

    def recv(self) -> int | None:
        if len(self.turns) == 2:
            return None
        if self.turns:
            self.profile.start()
            self.begun = time.perf_counter()
        return self._steps if self.turns else 1

    def send(self, turn: Turn) -> None:
        if self.turns:
            self.seconds = time.perf_counter() - self.begun
            self.profile.stop()
        self.turns.append(turn)


def _shares(link: _Link, rank: int) -> dict[str, float]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for operator in link.profile.key_averages(group_by_input_shape=True):
        library, _, name = operator.key.partition("::")
        if library in _LIBRARIES:
            kind = _kind(name, operator.input_shapes, rank)
            seconds[kind] += operator.self_cpu_time_total / 1e6
    seconds[_BETWEEN] = link.seconds - sum(seconds.values())
    return {kind: seconds[kind] / link.seconds for kind in KINDS}


def _kind(name: str, shapes: Sequence[Sequence[int]], rank: int) -> str:
    """A product with a side as long as the adapter's rank, or two or three of them together, is the
    adapter's; the few of as many tokens (a last layer's) are counted there, too."""
    found = next((kind for kind, names in _KINDS.items() if name in names), _ELEMENTWISE)
    narrow = any(side in (rank, 2 * rank, 3 * rank) for shape in shapes for side in shape)
    return _ADAPTER if found == _BASE and narrow else found


def table(cases: Sequence[Case], profiles: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: a row a case that has a profile."""
    shown = [case for case in cases if case.id in profiles]
    if not shown:
        return
    yield "| profile of our side | " + " | ".join(KINDS) + " |"
    yield "| --- " * (len(KINDS) + 1) + "|"
    for case in shown:
        shares = profiles[case.id]["shares"]
        yield f"| `{case.id}` | " + " | ".join(f"{shares[kind]:.0%}" for kind in KINDS) + " |"
