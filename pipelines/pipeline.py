"""The pipeline: ingest, tokenize, finetune_head, evaluate, register."""

from typing import Any, Dict, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Model

from components.evaluate.component import evaluate as evaluate_component
from components.finetune_head.component import finetune_head as finetune_head_component
from components.ingest.component import ingest as ingest_component
from components.register.component import register as register_component
from components.tokenize.component import tokenize as tokenize_component
from llmclf_core.config import Recipe


class Outputs(NamedTuple):
    """The artifacts of one execution."""

    corpus: Dataset
    classifier: Model
    evaluation: Artifact
    registration: Artifact


@dsl.pipeline(name="llmclf", description="Fine-tune, evaluate and register a text classifier")
def classify(
    name: str,
    ingest: Dict[str, Any],
    base: Dict[str, Any],
    tokenize: Dict[str, Any],
    lora: Dict[str, Any],
    head: Dict[str, Any],
    training: Dict[str, Any],
    evaluate: Dict[str, Any],
    registry: Dict[str, Any],
    seed: int = 0,
    source_version: str = "",
    base_version: str = "",
) -> Outputs:
    """Train a head classifier on a labelled text collection and register it.

    Args:
        name: The task; names the registered model.
        ingest: The recipe's section of that name, as are the others.
        base: Pretrained model.
        tokenize: Truncation.
        lora: Adapter.
        head: Pooling and head.
        training: Training loop.
        evaluate: Figures on the test rows.
        registry: Registered model and gate.
        seed: Of everything random in training.
        source_version: Changes when the source's content does.
        base_version: Changes when the base model's files do.
    """
    corpus = ingest_component(settings=ingest, source_version=source_version).set_display_name(
        "Ingest"
    )
    tokens = tokenize_component(
        corpus=corpus.outputs["corpus"], base=base, settings=tokenize, base_version=base_version
    ).set_display_name("Tokenize")
    trained = finetune_head_component(
        tokens=tokens.outputs["tokens"],
        base=base,
        lora=lora,
        head=head,
        training=training,
        seed=seed,
    ).set_display_name("Fine-tune head")
    evaluated = evaluate_component(
        corpus=corpus.outputs["corpus"],
        classifier=trained.outputs["classifier"],
        settings=evaluate,
    ).set_display_name("Evaluate")
    registered = register_component(
        corpus=corpus.outputs["corpus"],
        classifier=trained.outputs["classifier"],
        evaluation=evaluated.outputs["evaluation"],
        name=name,
        settings=registry,
    ).set_display_name("Register")
    # The registry outside decides what is champion now; a cached answer could be out of date.
    registered.set_caching_options(False)
    return Outputs(
        corpus=corpus.outputs["corpus"],
        classifier=trained.outputs["classifier"],
        evaluation=evaluated.outputs["evaluation"],
        registration=registered.outputs["registration"],
    )


def arguments(recipe: Recipe, source_version: str = "", base_version: str = "") -> dict[str, Any]:
    """The pipeline's arguments for a recipe."""
    # Kubeflow has no null. No setting that may be None has another default, so none is lost.
    sections = recipe.model_dump(include=set(SECTIONS), exclude_none=True)
    versions = {"source_version": source_version, "base_version": base_version}
    return {"name": recipe.name, "seed": recipe.seeds[0]} | versions | sections


SECTIONS = ("ingest", "base", "tokenize", "lora", "head", "training", "evaluate", "registry")
"""Recipe sections that steps read; ``tracking`` goes into the environment instead."""
