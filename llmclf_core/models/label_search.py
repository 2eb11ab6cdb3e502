"""The best set of labels of each text, and a probability of every label.

A model writes a set as its labels in order, then an end. A state is the labels written so far; the
options there are the labels after the last one, and the end. So every set has one way to be
written, and the probabilities of all sets add up to one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
        logits: of each label, (n_labels,); see :func:`marginal_logits`.
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


def marginal_logits(seen: Mapping[State, Floats]) -> Floats:
    """Logits of the probability that each label is in the text's set, by what the search has seen.

    A set that holds label l passes through one state at which l is written, so with A_s(l) for the
    probability that l follows after state s, A_s(l) = q_s(l) + sum over j < l of q_s(j) A_{s,j}(l).
    That is exact where the search has looked. For a state (s, j) that it has not looked into, each
    label counts as independent of j: it follows as it does after s, with the conditional of a
    classifier chain, q_s(l) / (q_s(l) + sum of q_s(k > l) + q_s(end)) (Read et al. 2011, doi
    10.1007/s10994-011-5256-5).

    Args:
        seen: log-probabilities of the options at each state looked into, each (n_labels + 1,), the
            empty state among them and, with a state, all its beginnings.

    Returns:
        (n_labels,), log P - log(1 - P), clipped to ±30.
    """
    follows: dict[State, tuple[Floats, Floats]] = {}
    for state in sorted(seen, key=len, reverse=True):
        follows[state] = _follows(np.exp(seen[state]), state, follows)
    inside, outside = follows[()]
    with np.errstate(divide="ignore"):
        logits: Floats = np.clip(np.log(inside) - np.log(outside), -_CLIP, _CLIP)
    return logits


def _follows(
    q: Floats, state: State, below: Mapping[State, tuple[Floats, Floats]]
) -> tuple[Floats, Floats]:
    """Probability that each label follows after a state, and that it does not.

    Both are sums of what is not negative, so neither loses its digits near 0.
    """
    labels, end = q[:-1], q[-1]
    beyond = end + np.concatenate([np.cumsum(labels[::-1])[::-1][1:], [0.0]])
    total = labels + beyond
    chain = np.divide(labels, total, out=np.zeros_like(labels), where=total > 0)
    unseen = labels.copy()
    inside, outside = labels.copy(), beyond.copy()
    for j in range(len(labels)):
        if (found := below.get((*state, j))) is not None:
            unseen[j] = 0.0
            inside[j + 1 :] += labels[j] * found[0][j + 1 :]
            outside[j + 1 :] += labels[j] * found[1][j + 1 :]
    before = np.concatenate([[0.0], np.cumsum(unseen)[:-1]])
    rest = np.divide(beyond, total, out=np.ones_like(labels), where=total > 0)
    return inside + before * chain, outside + before * rest


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
        return Found(self.best, marginal_logits(self.seen), bool(self.cost <= self.dropped))
