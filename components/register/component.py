"""Component: register."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    corpus: Input[Dataset],
    classifier: Input[Model],
    evaluation: Input[Artifact],
    registration: Output[Artifact],
    name: str,
    settings: Dict[str, Any],
):
    """Register a classifier in MLflow as challenger, and as champion when it passes the gate.

    Args:
        corpus: What `ingest` wrote; the champion is measured on its test rows.
        classifier: The trained classifier.
        evaluation: What `evaluate` wrote of it.
        registration: Registered name, version, aliases, and the gate's reasons (JSON).
        name: The registered model, unless the settings name another.
        settings: The recipe's `registry` section.
    """
    from pathlib import Path

    from llmclf_core.config import RegisterConfig, parse
    from llmclf_core.registry.register import register
    from llmclf_core.steps.process import step

    with step("register"):
        result = register(
            Path(classifier.path),
            Path(evaluation.path),
            Path(corpus.path),
            parse(RegisterConfig, settings, "registry"),
            name,
            Path(registration.path),
        )
    registration.metadata.update(
        display_name="Registration", name=result.name, version=result.version
    )
