"""How approaches and metrics are called where people read of them."""

from __future__ import annotations

_TITLES = {
    "tfidf": "TF-IDF",
    "probe": "Frozen probe",
    "encoder": "Encoder",
    "head": "LLM with head",
    "instruct": "Instructed LLM",
}
_PHRASES = {
    "tfidf": "TF-IDF",
    "probe": "the frozen probe",
    "encoder": "the encoder",
    "head": "the LLM with a head",
    "instruct": "the instructed LLM",
}
_METRICS = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
}


def title(approach: str) -> str:
    """For headings and tables."""
    return _TITLES.get(approach, approach)


def phrase(approach: str) -> str:
    """For the middle of a sentence."""
    return _PHRASES.get(approach, approach)


def metric_name(metric: str) -> str:
    """For sentences and headings."""
    return _METRICS.get(metric, metric.replace("_", " "))


def listed(names: list[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3.5 min``, ``1.2 h``, ``100 h``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds)} s"


def percent(share: float, decimals: int | None = None) -> str:
    """``95 %``, ``97.5 %``, ``0.1 %``: never rounded, unless to so many decimals."""
    number = f"{100 * share:.10g}" if decimals is None else f"{100 * share:.{decimals}f}"
    return f"{number} %"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.1f}".removesuffix(".0")
