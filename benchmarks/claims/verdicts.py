"""From figures to verdicts on C1, C4 and C5."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.claims.contrasts import Contrast
from benchmarks.claims.figures import Figures, Gap
from benchmarks.claims.rules import (
    LEAST_RATIO,
    LEAST_STUDIES,
    LEVEL,
    Outcome,
    Verdict,
    in_words,
    negligible,
    p_value,
    significant,
    worse,
)

C1 = (
    "Single-label: the head matches or exceeds a fine-tuned BERT with 10 to 30 times fewer trained "
    "parameters"
)
C4 = "The head's advantage is consistent in direction but not significant at p < 0.05"


def c1(studies: Sequence[Figures]) -> Verdict:
    """Judge the head against the encoder, single-label.

    Supported: in every study not significantly worse, in most not lower, the ratio at least 10.
    Not supported: somewhere significantly worse, or a ratio below 10.
    """
    told = [(s, gap, _ratio(s)) for s in studies if (gap := s.gap("head", "encoder"))]
    lines = [f"{s.title}: {in_words(gap)}; {r:.1f} times fewer" for s, gap, r in told]
    beaten = [s.title for s, gap, _ in told if worse(gap)]
    heavy = [s.title for s, _, ratio in told if ratio < LEAST_RATIO]
    not_lower = sum(gap.difference >= 0 for _, gap, _ in told)
    if beaten or heavy:
        reasons = ["significantly worse in " + "; ".join(beaten)] if beaten else []
        reasons += [f"fewer than {LEAST_RATIO:.0f} times in " + "; ".join(heavy)] if heavy else []
        return Verdict("C1", C1, lines, Outcome.NOT_SUPPORTED, "; ".join(reasons))
    if len(told) < LEAST_STUDIES:
        return Verdict("C1", C1, lines, Outcome.CANNOT_TELL, _too_few(len(told)))
    if 2 * not_lower > len(told):
        why = f"nowhere significantly worse, and not lower in {not_lower} of {len(told)} studies"
        return Verdict("C1", C1, lines, Outcome.SUPPORTED, why)
    lower = len(told) - not_lower
    why = f"nowhere significantly worse, but lower in {lower} of {len(told)} studies"
    return Verdict("C1", C1, lines, Outcome.CANNOT_TELL, why)


def _ratio(study: Figures) -> float:
    encoder, head = (study.approaches[name].trained_parameters for name in ("encoder", "head"))
    return encoder / head


def _too_few(studies: int) -> str:
    return f"{studies} of at least {LEAST_STUDIES} studies were run"


def c4(studies: Sequence[Figures]) -> Verdict:
    """Judge whether the head's advantage over the encoder is consistent, and not significant.

    Supported: above the encoder in every study, significant in none by McNemar (single-label) or
    bootstrap. Not supported: a study where it is not above, or where the two differ significantly.
    """
    told = [(s, gap) for s in studies if (gap := s.gap("head", "encoder"))]
    lines = [f"{s.title}: {in_words(gap)}{_mcnemar(gap)}" for s, gap in told]
    clear = [f"{s.title} ({_direction(gap)})" for s, gap in told if significant(gap)]
    not_above = [s.title for s, gap in told if gap.difference <= 0]
    if len(told) < LEAST_STUDIES and not clear:
        return Verdict("C4", C4, lines, Outcome.CANNOT_TELL, _too_few(len(told)))
    if clear or not_above:
        reasons = ["significant in " + "; ".join(clear)] if clear else []
        reasons += ["no advantage in " + "; ".join(not_above)] if not_above else []
        return Verdict("C4", C4, lines, Outcome.NOT_SUPPORTED, "; ".join(reasons))
    why = f"above the encoder in all {len(told)} studies, significant in none"
    return Verdict("C4", C4, lines, Outcome.SUPPORTED, why)


def _direction(gap: Gap) -> str:
    return "the head is better" if gap.difference > 0 else "the head is worse"


def _mcnemar(gap: Gap) -> str:
    p = gap.adjusted_mcnemar_p
    return "" if p is None else f", McNemar p {p_value(p)}"


def c5(family: str, made: Sequence[Contrast]) -> Verdict:
    """Judge whether pooling, verbalizer or calibration makes a difference.

    Supported: a significant one. Not supported: all are negligible, their intervals included.
    """
    clear = sum(c.adjusted_p < LEVEL for c in made)
    if not made:
        outcome, why = Outcome.CANNOT_TELL, "not run"
    elif clear:
        outcome = Outcome.SUPPORTED
        why = f"{clear} of {len(made)} differences are significant"
    elif all(negligible(c) for c in made):
        outcome, why = Outcome.NOT_SUPPORTED, "every difference is negligible"
    else:
        outcome, why = (
            Outcome.CANNOT_TELL,
            "no difference is significant, yet not all are ruled out",
        )
    metric = "log loss" if family == "calibration" else "macro F1"
    text = f"Ablations: {family} changes {metric} (what the paper found was not at hand)"
    lines = [f"{c.study}: {c.a} − {c.b} {in_words(c)}" for c in made]
    return Verdict(f"C5 {family}", text, lines, outcome, why)
