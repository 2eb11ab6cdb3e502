"""Component: compare."""

from typing import Any, Dict, List

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(
    corpus: Input[Dataset],
    comparison: Output[Artifact],
    champion: Output[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    settings: Dict[str, Any],
    tfidf: Input[Model] = None,
    tfidf_evaluation: Input[Artifact] = None,
    probe: Input[Model] = None,
    probe_evaluation: Input[Artifact] = None,
    encoder: Input[List[Model]] = None,
    encoder_evaluations: Input[List[Artifact]] = None,
    head: Input[List[Model]] = None,
    head_evaluations: Input[List[Artifact]] = None,
    instruct: Input[List[Model]] = None,
    instruct_evaluations: Input[List[Artifact]] = None,
):
    """Compare all approaches on the same test rows and choose the champion.

    Args:
        corpus: What `ingest` wrote; the report shows texts that the approaches disagree on.
        comparison: The comparison (JSON) and its report.
        champion: A copy of the chosen classifier.
        evaluation: A copy of its evaluation.
        metrics: The compared metric of each approach, for the Kubeflow page.
        report: One self-contained page.
        settings: The recipe's `compare` section.
        tfidf: The TF-IDF classifier.
        tfidf_evaluation: Its evaluation.
        probe: The frozen probe.
        probe_evaluation: Its evaluation.
        encoder: The fine-tuned encoders, one a seed.
        encoder_evaluations: Their evaluations.
        head: The head classifiers, one a seed.
        head_evaluations: Their evaluations.
        instruct: The instruction-tuned classifiers, one a seed.
        instruct_evaluations: Their evaluations.
    """
    from pathlib import Path

    from llmclf_core.config import CompareConfig, parse
    from llmclf_core.steps.compare import compare_and_track
    from llmclf_core.steps.pages import comparison_page
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import classifier_facts

    def paths(*given: Any) -> List[Path]:
        found = [a for one in given for a in (one if isinstance(one, list) else [one])]
        return [Path(artifact.path) for artifact in found if artifact is not None]

    with step("compare"):
        compare_and_track(
            Path(corpus.path),
            paths(tfidf, probe, encoder, head, instruct),
            paths(
                tfidf_evaluation,
                probe_evaluation,
                encoder_evaluations,
                head_evaluations,
                instruct_evaluations,
            ),
            parse(CompareConfig, settings, "compare"),
            Path(comparison.path),
            Path(champion.path),
            Path(evaluation.path),
        )
    shown = comparison_page(Path(comparison.path), Path(report.path), metrics.path)
    for name, value in shown.metrics.items():
        metrics.log_metric(name, value)
    champion.metadata.update(classifier_facts(Path(champion.path), "Champion"))
    for artifact, title in (
        (comparison, "Comparison"),
        (evaluation, "Evaluation of the champion"),
        (metrics, "Compared metric"),
        (report, "Report of the comparison"),
    ):
        artifact.metadata["display_name"] = title
