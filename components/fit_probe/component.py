"""Component: fit_probe."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fit_probe(
    tokens: Input[Dataset],
    classifier: Output[Model],
    base: Dict[str, Any],
    settings: Dict[str, Any],
):
    """Fit logistic regression on the embeddings of an LLM that stays as it is.

    Args:
        tokens: What `tokenize` wrote.
        classifier: Weights and tokenizer, with a reference to the base model.
        base: The recipe's `base` section: model, quantisation, compute type.
        settings: The recipe's `probe` section: pooling, regularisations to choose from.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import classifier_facts

    def work() -> None:
        from llmclf_core import config
        from llmclf_core.steps.fit_probe import fit_probe

        fit_probe(
            Path(tokens.path),
            config.parse(config.BaseModelConfig, base, "base"),
            config.parse(config.ProbeConfig, settings, "probe"),
            output,
        )

    inputs, output = [Path(tokens.path)], Path(classifier.path)
    with step("fit-probe"):
        attempt("fit-probe", "probe", None, inputs, output, work)
    classifier.metadata.update(classifier_facts(output, "Frozen probe"))
