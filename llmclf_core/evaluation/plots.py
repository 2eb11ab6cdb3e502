"""Plots as inline SVG that takes its colours and fonts from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from llmclf_core.evaluation.calibration import Bin
from llmclf_core.evaluation.metrics import Curve
from llmclf_core.evaluation.names import duration

_COLOURS = {"#010101": "currentColor", "#020202": "var(--accent)", "#030303": "var(--line)"}
"""Matplotlib wants real colours; these stand for the page's own, light or dark."""
_INK, _ACCENT, _LINE = _COLOURS
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}
_TICKS = (0, 0.5, 1)
_DURATIONS = [*(0.1, 1, 10, 60, 600), *(3600 * hours for hours in (1, 10, 100, 1000, 10_000))]
"""Seconds that an axis of costs names."""
_PLACES = [(x, y) for y in (6, -9, 20, -23, 34, -37, 48, -51) for x in (9, -9)]
"""Where a point's name may stand, in points of print from the point, the best place first."""


def reliability_svg(bins: list[Bin], description: str) -> Markup:
    """Observed frequency against confidence as bars, how many answers fall in each bin below."""

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        filled = [b for b in bins if b["count"]]
        width = bins[0]["high"] - bins[0]["low"]
        middles = [(b["low"] + b["high"]) / 2 for b in filled]
        upper.bar(middles, [b["accuracy"] or 0 for b in filled], width * 0.9, color=_ACCENT)
        upper.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle="--")
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed", yticks=_TICKS)
        total = sum(b["count"] for b in filled)
        lower.bar(middles, [b["count"] / total for b in filled], width * 0.9, color=_INK, alpha=0.4)
        lower.set(xlabel="confidence", ylabel="share", ylim=(0, 1), xticks=_TICKS, yticks=(0, 1))

    return _svg((3.4, 3.8), draw, description)


def curve_svg(curve: Curve, description: str) -> Markup:
    """One precision-recall curve."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        axes.step(curve["recall"], curve["precision"], where="pre", color=_ACCENT, linewidth=1.8)
        axes.fill_between(
            curve["recall"], curve["precision"], step="pre", color=_ACCENT, alpha=0.12
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04), xticks=_TICKS, yticks=_TICKS)
        axes.set(xlabel="recall", ylabel="precision")

    return _svg((2.3, 2.0), draw, description)


class CostPoint(NamedTuple):
    """One approach in :func:`cost_svg`; ``front``: no other is both cheaper and better."""

    title: str
    seconds: float
    score: float
    low: float
    high: float
    front: bool
    champion: bool


def cost_svg(points: Sequence[CostPoint], metric: str, description: str) -> Markup:
    """Score against cost (logarithmic) with intervals; a line joins the Pareto front."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        axes.set_xscale("log")
        front = sorted((p.seconds, p.score) for p in points if p.front)
        axes.plot(*zip(*front, strict=True), color=_LINE, linewidth=2, zorder=1)
        for point in points:
            _point(axes, point)
        limits = _room([p.seconds for p in points])
        axes.set_xlim(*limits)
        ticks = [t for t in _DURATIONS if limits[0] <= t <= limits[1]]
        axes.set_xticks(ticks, [duration(t) for t in ticks])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="time to train and to classify", ylabel=metric)
        axes.margins(y=0.12)
        _name(axes, points)

    return _svg((5.0, 3.7), draw, description, **{"font.size": 12})


def _point(axes: Axes, point: CostPoint) -> None:
    colour = _ACCENT if point.champion else _INK
    bars = [[point.score - point.low], [point.high - point.score]]
    axes.errorbar(
        *(point.seconds, point.score, bars),
        fmt="o",
        color=colour,
        markerfacecolor=colour if point.front else "none",
        markersize=9 if point.champion else 6,
        elinewidth=1.4,
        capsize=3,
        zorder=2,
    )


def _name(axes: Axes, points: Sequence[CostPoint]) -> None:
    """Write each point's name where it covers neither a bar nor another name."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    taken = [_bar(axes, point) for point in points]
    for point in points:
        names = [_named(axes, point, place) for place in _PLACES]
        boxes = [name.get_window_extent() for name in names]
        faults = [(not _inside(axes, box), box.count_overlaps(taken)) for box in boxes]
        best = faults.index(min(faults))  # better over something than cut off
        taken.append(boxes[best])
        for name in names[:best] + names[best + 1 :]:
            name.remove()


def _inside(axes: Axes, box: Bbox) -> bool:
    return axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)


def _bar(axes: Axes, point: CostPoint) -> Bbox:
    ends = axes.transData.transform([(point.seconds, point.low), (point.seconds, point.high)])
    return Bbox(ends).padded(4)


def _named(axes: Axes, point: CostPoint, place: tuple[int, int]) -> Annotation:
    name = axes.annotate(
        point.title,
        (point.seconds, point.score),
        xytext=place,
        textcoords="offset points",
        ha="right" if place[0] < 0 else "left",
        va="center",
        color=_ACCENT if point.champion else _INK,
        weight="bold" if point.champion else "normal",
    )
    name.set_in_layout(False)
    return name


def _room(seconds: list[float]) -> tuple[float, float]:
    """Limits of a logarithmic axis with a place for the names at its right."""
    low, high = min(seconds), max(seconds)
    width = max(high / low, 10.0)
    return low / width**0.08, low * width**1.6


def _svg(
    size: tuple[float, float], draw: Callable[[Figure], None], description: str, **style: Any
) -> Markup:
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE | style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _inline(buffer.getvalue(), description)


def _inline(text: str, description: str) -> Markup:
    """Strip what only a file of its own needs, name the image, give the page its colours."""
    body = text[text.index("<svg") :]
    body = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1\.1"', "", body)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[a-zA-Z0-9_. ]*">', "<g>", body)
    for stand_in, colour in _COLOURS.items():
        body = body.replace(stand_in, colour)
    label = escape(description)
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # noqa: S704
