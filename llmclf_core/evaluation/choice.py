"""The rule that names a champion, the same for the comparison and for the registry's gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmclf_core.evaluation.names import duration, listed, metric_name

SAME_COST = 1.5
"""Costs up to this many times the cheapest count as equal: times of one and the same work differ
that much on machines that do other things too."""

RULE = (
    "The highest score is the mark. Of those that are not significantly worse, the cheapest is "
    "chosen; among costs up to half as high again as the lowest, the higher score decides."
)


@dataclass(frozen=True)
class Candidate:
    """What the rule looks at.

    Attributes:
        name: as it is called in the middle of a sentence.
        score: the compared metric.
        seconds: to train it and to classify so many texts; None when that is not known.
    """

    name: str
    score: float
    seconds: float | None


@dataclass(frozen=True)
class Choice:
    """The champion.

    Attributes:
        index: its place among the candidates.
        why: one clause with numbers, about "it".
    """

    index: int
    why: str


def choose(
    candidates: Sequence[Candidate], worse: Callable[[int, int], bool], metric: str
) -> Choice:
    """Name the champion by :data:`RULE`.

    Where the cost of one in question is not known, none counts, and the highest score wins. What
    is equal in everything is decided by the order given.

    Args:
        candidates: at least one.
        worse: whether the first (by place) is significantly worse than the second.
        metric: the compared metric's name.
    """
    scores = [candidate.score for candidate in candidates]
    best = scores.index(max(scores))
    left = [i for i in range(len(candidates)) if i == best or not worse(i, best)]
    chosen = max(_cheapest(candidates, left), key=lambda i: candidates[i].score)
    return Choice(chosen, _why(candidates, left, best, chosen, metric_name(metric)))


def _cheapest(candidates: Sequence[Candidate], left: list[int]) -> list[int]:
    known = {i: s for i in left if (s := candidates[i].seconds) is not None}
    if len(known) < len(left):
        return left
    limit = SAME_COST * min(known.values())
    return [i for i in left if known[i] <= limit]


def _why(
    candidates: Sequence[Candidate], left: list[int], best: int, chosen: int, metric: str
) -> str:
    mine, mark = candidates[chosen], candidates[best]
    # A fourth digit where three would make two different scores look alike.
    digits = 4 if mine.score != mark.score and f"{mine.score:.3f}" == f"{mark.score:.3f}" else 3
    reached = f"it reaches {metric} {mine.score:.{digits}f}"
    if len(candidates) == 1:
        return f"{reached}, and there is nothing to compare it with"
    if chosen != best:
        return (
            f"{reached}; {mark.name} has the highest, {mark.score:.{digits}f}, which is not "
            f"significantly better and takes {times(mark, mine)}"
        )
    rest = [c for i, c in enumerate(candidates) if i != chosen]
    reached += ", the highest" if mine.score > max(c.score for c in rest) else ", no less than any"
    if len(left) == 1:
        near = max(rest, key=lambda c: c.score)
        return f"{reached}; {_next(near, len(rest))} significantly worse"
    others = [candidates[i] for i in left if i != chosen]
    return f"{reached}{_against_equals(mine, others)}"


def _next(near: Candidate, rest: int) -> str:
    if rest == 1:
        return f"{near.name} ({near.score:.3f}) is"
    return f"all others ({near.name} comes next with {near.score:.3f}) are"


def _against_equals(mine: Candidate, others: list[Candidate]) -> str:
    names = listed([c.name for c in others])
    seconds = [c.seconds for c in others if c.seconds is not None]
    are = "is" if len(others) == 1 else "are"
    close = f"; {names} {are} not significantly worse"
    if mine.seconds is None or len(seconds) < len(others):
        return f"{close}, but the cost is not known, so the higher score decides"
    if mine.seconds < min(seconds):
        return f"{close}, but {_cost(mine, others)}"
    return f"{close}, but not clearly cheaper"


def _cost(mine: Candidate, others: list[Candidate]) -> str:
    nearest = min(others, key=lambda c: c.seconds or 0.0)
    return f"{'takes' if len(others) == 1 else 'the cheapest of them takes'} {times(nearest, mine)}"


def times(dear: Candidate, cheap: Candidate) -> str:
    """How much longer one takes: ``40 times as long (2.0 h against 3.0 min)``."""
    if not dear.seconds or not cheap.seconds:
        return "an unknown time"
    ratio = dear.seconds / cheap.seconds
    share = f"{ratio:,.0f}" if ratio >= 9.95 else f"{ratio:.2g}"
    return f"{share} times as long ({duration(dear.seconds)} against {duration(cheap.seconds)})"
