"""The best set of labels of each text, and a probability of every label.

A model writes a set as its labels in order, then an end. A state is the labels written so far; the
options there are the labels after the last one, and the end. So every set has one way to be
written, and the probabilities of all sets add up to one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

State = tuple[int, ...]
Floats = npt.NDArray[np.float64]
Options = Callable[[Sequence[int], Sequence[State]], npt.NDArray[np.floating]]
"""(texts, states), m of each, to log-likelihoods of all labels and, last, the end, (m, n + 1)."""

_CLIP = 30.0


@dataclass(frozen=True)
class Found:
    """What the search says of a text.

    Attributes:
        labels: the best set, ascending label ids.
        logits: of each label, (n_labels,); see :func:`chain_logits`.
        exact: whether no set is more likely; false when the search ran out of steps.
    """

    labels: State
    logits: Floats
    exact: bool


def best_sets(options: Options, n_texts: int, steps: int) -> list[Found]:
    """Search the best set of every text, all texts at once.

    Args:
        options: the model.
        n_texts: how many there are.
        steps: most states of a text that are looked into, but for the completion of its best one.
    """
    searches = [_Search(steps) for _ in range(n_texts)]
    while asking := [(i, s.wanted) for i, s in enumerate(searches) if s.wanted is not None]:
        texts, states = zip(*asking, strict=True)
        for (i, state), row in zip(asking, options(texts, states), strict=True):
            searches[i].tell(state, allowed(np.asarray(row, dtype=np.float64), state))
    return [s.found() for s in searches]


def allowed(likelihoods: Floats, state: State) -> Floats:
    """Log-probabilities of the options at a state; -inf for a label that may not come any more.

    Args:
        likelihoods: of all labels and the end, (n_labels + 1,).
        state: labels written so far.
    """
    q = likelihoods.copy()
    q[: state[-1] + 1 if state else 0] = -np.inf
    return np.asarray(q - np.logaddexp.reduce(q))


def chain_logits(q: Sequence[Floats], labels: State) -> Floats:
    """Logits of the labels' conditionals, as a classifier chain has them, along a set.

    With q of the state of those labels of the set that stand before label l, its probability is
    h = q(l) / (q(l) + sum of q(j > l) + q(end)): that l is in the set, given what is decided before
    it (Read et al. 2011, doi 10.1007/s10994-011-5256-5). The product of h over the set's labels and
    of 1 - h over the others is the set's probability.

    Args:
        q: log-probabilities of the options at each state of the set, from the empty one on, each
            (n_labels + 1,).
        labels: the set, ascending.

    Returns:
        (n_labels,), log h - log(1 - h), clipped to ±30.
    """
    n_labels = len(q[0]) - 1
    logits = np.empty(n_labels)
    bounds = [-1, *labels, n_labels - 1]
    for row, (first, last) in zip(q, pairwise(bounds), strict=True):
        beyond = np.logaddexp.accumulate(row[::-1])[::-1]
        here = slice(first + 1, last + 1)
        logits[here] = row[here] - beyond[first + 2 : last + 2]
    return np.clip(logits, -_CLIP, _CLIP)


@dataclass
class _Search:
    """Best-first search for one text (uniform cost: options cost -log q, which is never negative).

    The first complete set that leaves the queue is the best one. Out of steps, all open states but
    the cheapest are dropped, so that it is completed greedily.
    """

    steps: int
    wanted: State | None = ()
    cost: float = 0.0
    best: State = ()
    dropped: float = np.inf
    seen: dict[State, Floats] = field(default_factory=dict)
    queue: list[tuple[float, State, bool]] = field(default_factory=list)

    def tell(self, state: State, q: Floats) -> None:
        """Take in the options at the wanted state, and want another one or none."""
        self.seen[state] = q
        heapq.heappush(self.queue, (self.cost - q[-1], state, True))
        for label in np.flatnonzero(np.isfinite(q[:-1])):
            heapq.heappush(self.queue, (self.cost - q[label], (*state, int(label)), False))
        if len(self.seen) >= self.steps:
            self._narrow()
        self.cost, self.best, complete = heapq.heappop(self.queue)
        self.wanted = None if complete else self.best

    def _narrow(self) -> None:
        still_open = sorted(entry for entry in self.queue if not entry[2])
        complete = [entry for entry in self.queue if entry[2]]
        self.queue = complete + still_open[:1]
        heapq.heapify(self.queue)
        self.dropped = min([self.dropped, *(cost for cost, _, _ in still_open[1:])])

    def found(self) -> Found:
        path = [self.seen[self.best[:i]] for i in range(len(self.best) + 1)]
        return Found(self.best, chain_logits(path, self.best), bool(self.cost <= self.dropped))
