"""The verdict on C2: where instruct competes, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.claims.contrasts import Contrast
from benchmarks.claims.figures import Figures, Gap
from benchmarks.claims.rules import LARGE_BUDGET, Outcome, Standing, Verdict, in_words, standing

C2 = (
    "Instruct is competitive only on multi-label, and only with a budget of 100 M trained "
    "parameters or more"
)


class Large(NamedTuple):
    """Instruct with the large budget.

    Attributes:
        study: that trained it.
        base: the study with the same rows, a small budget and the rivals.
        contrasts: it less its rivals in ``base``.
    """

    study: Figures
    base: Figures
    contrasts: Sequence[Contrast]

    @property
    def trained(self) -> float:
        """Number of parameters."""
        return self.study.approaches["instruct"].trained_parameters

    @property
    def decisive(self) -> Contrast | None:
        """It less the best of head and encoder."""
        rival = self.base.best_of("head", "encoder")
        return next((c for c in self.contrasts if c.b == rival), None)


class _Finding(NamedTuple):
    """What stands in the way of the claim: shown to be otherwise, or open."""

    against: bool
    text: str


def c2(studies: Sequence[Figures], large: Large | None) -> Verdict:
    """Judge instruct against the best of head and encoder.

    Args:
        studies: single- and multi-label ones with a small budget.
        large: None when it was not run.

    Supported: significantly worse in all studies with a small budget, and competitive with the
    large one, multi-label. Not supported: one of these is shown to be otherwise.
    """
    small = [(s, *best) for s in studies if (best := _against_best(s))]
    lines = [f"{s.title}: instruct − {rival} {in_words(gap)}" for s, rival, gap in small]
    lines += [_line(c, large.trained) for c in large.contrasts] if large else []
    findings = [f for s, _, gap in small for f in _small(s, gap)] + _large(large)
    tasks = {s.task for s, _, _ in small}
    findings += [
        _Finding(False, f"no {t}-label study was run")
        for t in ("single", "multi")
        if t not in tasks
    ]
    against = [f.text for f in findings if f.against]
    if against:
        return Verdict("C2", C2, lines, Outcome.NOT_SUPPORTED, "; ".join(against))
    if findings:
        why = "open: " + "; ".join(f.text for f in findings)
        return Verdict("C2", C2, lines, Outcome.CANNOT_TELL, why)
    why = "significantly worse with every small budget, not so with the large one"
    return Verdict("C2", C2, lines, Outcome.SUPPORTED, why)


def _against_best(study: Figures) -> tuple[str, Gap] | None:
    rival = study.best_of("head", "encoder")
    gap = study.gap("instruct", rival) if rival else None
    return (rival, gap) if rival and gap else None


def _small(study: Figures, gap: Gap) -> list[_Finding]:
    trained = study.approaches["instruct"].trained_parameters
    found = standing(gap)
    if found is Standing.WORSE or (trained >= LARGE_BUDGET and study.task == "multi"):
        return []
    if found is Standing.OPEN:
        return [_Finding(False, f"{study.title}: {found}")]
    return [_Finding(True, f"{study.title}: it competes with {_millions(trained)}")]


def _large(large: Large | None) -> list[_Finding]:
    contrast = large.decisive if large else None
    if large is None or contrast is None:
        return [_Finding(False, "the study with the large budget was not run")]
    if large.trained < LARGE_BUDGET:
        return [_Finding(False, f"the large budget is only {_millions(large.trained)}")]
    found = standing(contrast)
    if found is Standing.COMPETITIVE:
        return []
    text = f"{found} than {contrast.b} with {_millions(large.trained)} too"
    if found is Standing.OPEN:
        text = f"with {_millions(large.trained)} {found} {contrast.b}"
    return [_Finding(found is Standing.WORSE, text)]


def _line(c: Contrast, trained: float) -> str:
    return f"{c.study}: instruct {c.a} ({_millions(trained)}) − {c.b} {in_words(c)}"


def _millions(number: float) -> str:
    return f"{number / 1e6:.1f} M trained parameters"
