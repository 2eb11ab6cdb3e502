"""Component: fit_tfidf."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fit_tfidf(
    corpus: Input[Dataset],
    classifier: Output[Model],
    settings: Dict[str, Any],
):
    """Fit logistic regression on TF-IDF features; no pretrained model, seconds of work.

    Args:
        corpus: What `ingest` wrote.
        classifier: Vocabulary and weights.
        settings: The recipe's `tfidf` section: features, regularisations to choose from.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import classifier_facts

    def work() -> None:
        from llmclf_core.config import TfidfConfig, parse
        from llmclf_core.steps.fit_tfidf import fit_tfidf

        fit_tfidf(Path(corpus.path), parse(TfidfConfig, settings, "tfidf"), output)

    inputs, output = [Path(corpus.path)], Path(classifier.path)
    with step("fit-tfidf"):
        attempt("fit-tfidf", "tfidf", None, inputs, output, work)
    classifier.metadata.update(classifier_facts(output, "TF-IDF"))
