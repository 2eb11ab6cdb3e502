"""Levels, margins and outcomes: what a verdict may say and when a difference counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from benchmarks.claims.contrasts import Contrast
from benchmarks.claims.figures import Gap

LEVEL = 0.05
LEAST_RATIO = 10.0
LARGE_BUDGET = 100e6
MARGIN = 0.05
"""An approach that may be this much macro F1 below another has not been shown to compete."""
NEGLIGIBLE = {"macro_f1": 0.02, "log_loss": 0.01}
"""A difference whose interval lies within plus and minus this makes no odds."""
LEAST_STUDIES = 2


class Outcome(StrEnum):
    """Of a claim, or of a part of it."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    CANNOT_TELL = "cannot tell at this scale"


@dataclass(frozen=True)
class Verdict:
    """What the table says of one claim.

    Attributes:
        claim: its id, and a part of it where one is judged by itself.
        text: what the paper says.
        measured: what we measured, a line for each study or difference.
        outcome: the verdict.
        why: what it follows from.
    """

    claim: str
    text: str
    measured: list[str]
    outcome: Outcome
    why: str


class Standing(StrEnum):
    """Of an approach against its best rival."""

    WORSE = "significantly worse"
    COMPETITIVE = "not significantly worse"
    OPEN = f"not significantly worse, yet possibly more than {MARGIN} below"


def standing(gap: Gap | Contrast) -> Standing:
    """Competitive needs rows enough to rule out a gap of :data:`MARGIN`."""
    if worse(gap):
        return Standing.WORSE
    return Standing.OPEN if gap.low < -MARGIN else Standing.COMPETITIVE


def worse(gap: Gap | Contrast) -> bool:
    """Below, and not by chance."""
    return gap.difference < 0 and gap.adjusted_p < LEVEL


def significant(gap: Gap) -> bool:
    """By the bootstrap, or by McNemar where there is one."""
    mcnemar = gap.adjusted_mcnemar_p
    return gap.adjusted_p < LEVEL or (mcnemar is not None and mcnemar < LEVEL)


def negligible(contrast: Contrast) -> bool:
    """Whether the whole interval lies within :data:`NEGLIGIBLE`."""
    return max(-contrast.low, contrast.high) < NEGLIGIBLE[contrast.metric]


def in_words(gap: Gap | Contrast) -> str:
    """``+0.012 [-0.010, +0.034], p 0.31``, the p-value adjusted."""
    figures = f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    return f"{figures}, p {p_value(gap.adjusted_p)}"


def p_value(p: float) -> str:
    """``< 0.001``, ``0.012``, ``0.34``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
