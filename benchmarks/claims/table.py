"""``claims.json`` and ``claims.md``: every figure, and the table for readers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.claims.figures import ApproachRow, Figures
from benchmarks.claims.judge import Judged, judge
from benchmarks.claims.rules import in_words
from benchmarks.claims.state import State
from benchmarks.claims.study import Study
from llmclf_core.config import APPROACHES
from llmclf_core.errors import explain_os_errors
from llmclf_core.evaluation.names import duration, title
from llmclf_core.files import write_json

log = logging.getLogger(__name__)

COMMAND = "python -m benchmarks.claims"
CHEAP = ("tfidf", "probe")
LIMITS = (
    "One LLM of 135 M parameters, in float32 on two CPU cores, against one encoder of 22.7 M; the "
    "paper has LLMs up to 8 B in 4 bits on a GPU against BERT models of 110 M and more.",
    "News and package descriptions instead of patents, and a few hundred training rows.",
    "LLM and encoder read the first 64 tokens of a text; TF-IDF reads all of it.",
    "Some studies have one seed; intervals then hold chance in the rows alone.",
    "A difference that is not significant is not shown to be none.",
    "Studies were run side by side, with other work beside them: times are rough, and to be "
    "compared within a study only.",
)


def write_table(studies: Sequence[Study], state: State, output: Path) -> None:
    """Write ``claims.json`` and ``claims.md``.

    Args:
        studies: the plan.
        state: what is done.
        output: directory.

    Raises:
        UserError: when results do not fit together, or the directory cannot be written.
    """
    judged = judge(studies, state)
    with explain_os_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "claims.json", as_json(studies, judged))
        (output / "claims.md").write_text("\n".join(as_markdown(judged)) + "\n", "utf-8")
    log.info("%s: %d of %d studies", output / "claims.md", len(judged.figures), len(studies))


def as_json(studies: Sequence[Study], judged: Judged) -> dict[str, Any]:
    """Everything, without names of places on this machine."""
    done = [study for study in studies if study.name in judged.figures]
    return {
        "command": f"{COMMAND} run; {COMMAND} table",
        "verdicts": [asdict(verdict) for verdict in judged.verdicts],
        "not_run": [study.name for study in judged.missing],
        "studies": {study.name: _study(study, judged.figures[study.name]) for study in done},
        "contrasts": [asdict(contrast) for contrast in judged.contrasts],
        "settings": settings(done),
        "corpora_sha256": judged.digests,
        "made_on": judged.made_on,
    }


def _study(study: Study, told: Figures) -> dict[str, Any]:
    pairs = [{"a": a, "b": b} | gap._asdict() for (a, b), gap in told.pairs.items()]
    expected = {"expected_seconds": study.seconds, "recipe_key": study.key}
    return asdict(told) | {"pairs": pairs} | expected


def settings(studies: Sequence[Study]) -> dict[str, Any]:
    """Settings that all studies share, and each study's own.

    Returns:
        ``shared`` and, by study, dotted names to values.
    """
    told = {s.name: dict(flat(s.parsed().model_dump(mode="json"))) for s in studies}
    names = list(dict.fromkeys(name for own in told.values() for name in own))
    # A section that is unset in one study has parts, some of them null, in another.
    values = {n: {json.dumps(own[n]) if n in own else "" for own in told.values()} for n in names}
    shared = {n: json.loads(*found) for n, found in values.items() if len(found) == 1}
    own = {s: {n: v for n, v in all_.items() if n not in shared} for s, all_ in told.items()}
    return {"shared": shared} | own


def flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested sections to dotted names and values."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_markdown(judged: Judged) -> Iterator[str]:
    """Lines: claims first, then the studies behind them, then what limits them."""
    yield "# The paper's claims, re-run on two CPU cores"
    yield ""
    yield f"arXiv 2512.12677; made by `{COMMAND} run` and `{COMMAND} table`. Differences are of"
    yield "macro F1 (calibration: log loss) with 95 % intervals and p-values after Holm's"
    yield "correction. All figures are in `claims.json`."
    yield ""
    yield "| claim | what we measured | verdict | why |"
    yield "| --- | --- | --- | --- |"
    for v in judged.verdicts:
        measured = "<br>".join(v.measured) or "nothing"
        yield f"| {v.claim}: {v.text} | {measured} | **{v.outcome}** | {v.why} |"
    yield ""
    if judged.missing:
        yield "Not run: " + "; ".join(study.title for study in judged.missing) + "."
        yield ""
    yield "## The studies"
    yield ""
    yield from _scores(judged)
    yield from _costs(judged)
    yield from _machines(judged)
    yield "## What limits this"
    yield ""
    yield from (f"- {limit}" for limit in LIMITS)


def _scores(judged: Judged) -> Iterator[str]:
    usual = [f for f in judged.figures.values() if len(f.approaches) > 1]
    yield "Macro F1 (95 % interval), mean over seeds:"
    yield ""
    yield "| study | rows: train, test | seeds | " + " | ".join(map(title, APPROACHES)) + " |"
    yield "| --- " * (3 + len(APPROACHES)) + "|"
    for told in usual:
        cells = [_score(told, name) for name in APPROACHES]
        seeds = max(len(row.seeds) for row in told.approaches.values())
        rows = f"{told.rows['train']:,}, {told.rows['test']:,}"
        yield f"| {told.title} | {rows} | {seeds} | {' | '.join(cells)} |"
    yield ""
    yield from (f"- {cheap(told)}" for told in usual)
    yield from (f"- {f.title}: failed: {'; '.join(f.missing)}" for f in usual if f.missing)
    yield ""


def _score(told: Figures, approach: str) -> str:
    row = told.approaches.get(approach)
    if row is None:
        return "failed" if any(m.startswith(approach) for m in told.missing) else "not part"
    return f"{row.score:.3f} ({row.interval[0]:.3f}–{row.interval[1]:.3f})"


def cheap(told: Figures) -> str:
    """What the best cheap baseline is worth beside the best trained network, in a sentence."""
    best = told.best_of(*CHEAP)
    rival = told.best_of(*(name for name in APPROACHES if name not in CHEAP))
    gap = told.gap(best, rival) if best and rival else None
    if gap is None or best is None or rival is None:
        return f"{told.title}: no cheap baseline to compare with."
    names = f"{title(best)} less the best trained network, {title(rival)}"
    return f"{told.title}: {names}: {in_words(gap)}."


def _costs(judged: Judged) -> Iterator[str]:
    yield "Trained parameters, training time and texts classified a second, mean over seeds:"
    yield ""
    yield "| study | " + " | ".join(map(title, APPROACHES)) + " |"
    yield "| --- " * (1 + len(APPROACHES)) + "|"
    for told in judged.figures.values():
        cells = [_cost(told.approaches.get(name)) for name in APPROACHES]
        yield f"| {told.title} | {' | '.join(cells)} |"
    yield ""


def _machines(judged: Judged) -> Iterator[str]:
    """Costs are alike within a study only; studies may have been run on other machines."""
    by_machine: dict[str, list[str]] = {}
    for name, made in judged.made_on.items():
        machine = f"{made['cpu']}, {made['cores']} cores, {made['threads']} of them used"
        by_machine.setdefault(machine, []).append(judged.figures[name].title)
    yield from (f"- {machine}: {'; '.join(titles)}." for machine, titles in by_machine.items())
    yield ""


def _cost(row: ApproachRow | None) -> str:
    if row is None:
        return ""
    size = f"{row.trained_parameters / 1e6:.2f} M"
    return f"{size}, {duration(row.train_seconds)}, {row.texts_per_second:.1f}/s"
