"""The compare step: judge all trials, copy the champion out, tell MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from llmclf_core.approaches.base import HEADER
from llmclf_core.artifacts import Corpus
from llmclf_core.config import CompareConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.compare import compare
from llmclf_core.evaluation.comparison import HEADER as COMPARISON
from llmclf_core.evaluation.comparison import Comparison
from llmclf_core.evaluation.evaluation import REPORT, Evaluation
from llmclf_core.evaluation.note import note
from llmclf_core.evaluation.pages import render_comparison
from llmclf_core.failures import failure_in
from llmclf_core.files import atomic_directory, read_json
from llmclf_core.registry.runs import describe_parent

_NOTE_TAG = "mlflow.note.content"


def compare_and_track(
    corpus_path: Path,
    classifiers: Sequence[Path],
    evaluations: Sequence[Path],
    config: CompareConfig,
    output: Path,
    champion: Path,
    champion_evaluation: Path,
) -> Comparison:
    """Compare all trials on the same test rows and hand on the champion.

    Args:
        corpus_path: the corpus of the evaluations.
        classifiers: those that the evaluations are of, in any order; failed ones may be among them.
        evaluations: one a trial; failed ones are reported as missing.
        config: metric, tests, and the rule's cost.
        output: directory of the comparison and its report.
        champion: directory that gets a copy of the chosen classifier.
        champion_evaluation: directory that gets a copy of its evaluation.

    Raises:
        UserError: when every trial failed (the reasons are named), trials do not fit together, or
            an output cannot be written.
    """
    failures = {path: failure for path in evaluations if (failure := failure_in(path))}
    finished = {path: Evaluation.load(path) for path in evaluations if path not in failures}
    comparison = compare(list(finished.values()), list(failures.values()), config)
    page = render_comparison(comparison, list(finished.values()), Corpus.load(corpus_path))
    comparison.save(output, page)
    chosen = comparison.winner.chosen
    _copy(_classifier(classifiers, chosen), champion)
    best = next(path for path, e in finished.items() if e.predictions.classifier == chosen)
    _copy(best, champion_evaluation)
    _tell_mlflow(comparison, finished[best], output)
    return comparison


def _tell_mlflow(comparison: Comparison, best: Evaluation, output: Path) -> None:
    tags = {_NOTE_TAG: note(comparison), "llmclf.champion": comparison.champion}
    if comparison.missing:
        tags["llmclf.missing"] = "; ".join(map(str, comparison.missing))
    # Under the names that the nested runs have, so that MLflow charts them together.
    metrics = {f"test_{name}": value for name, value in best.metrics.items()}
    files = {output / name: "comparison" for name in (REPORT, COMPARISON)}
    describe_parent(tags, files, metrics)


def _classifier(classifiers: Sequence[Path], fingerprint: str) -> Path:
    for path in classifiers:
        if failure_in(path) is None:
            header = read_json(path / HEADER, "classifier")
            if header["fingerprint"] == fingerprint:
                return path
    raise UserError(f"the champion, classifier {fingerprint}, is not among those given")


def _copy(source: Path, target: Path) -> None:
    with atomic_directory(target) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True)
