"""The pipeline: ingest, a branch for each approach, compare, register."""

from typing import Any, Dict, List, NamedTuple, Sequence

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Model
from kfp.dsl.base_component import BaseComponent

from components.compare.component import compare as compare_component
from components.ingest.component import ingest as ingest_component
from components.register.component import register as register_component
from llmclf_core.config import APPROACHES, Approach, Recipe
from pipelines.branches import BRANCHES, Inputs


class Outputs(NamedTuple):
    """The artifacts of one execution."""

    corpus: Dataset
    comparison: Artifact
    champion: Model
    evaluation: Artifact
    registration: Artifact


def build(approaches: Sequence[Approach] = APPROACHES, parallelism: int = 0) -> BaseComponent:
    """The pipeline for some approaches.

    Args:
        approaches: each gets a branch.
        parallelism: trainings of one approach at a time, over the seeds; 0: all at once.
    """

    @dsl.pipeline(name="llmclf", description="Train, compare and register text classifiers")
    def classify(
        name: str,
        seeds: List[int],
        ingest: Dict[str, Any],
        base: Dict[str, Any],
        tokenize: Dict[str, Any],
        lora: Dict[str, Any],
        training: Dict[str, Any],
        head: Dict[str, Any],
        instruct: Dict[str, Any],
        encoder: Dict[str, Any],
        tfidf: Dict[str, Any],
        probe: Dict[str, Any],
        evaluate: Dict[str, Any],
        compare: Dict[str, Any],
        registry: Dict[str, Any],
        source_version: str = "",
        base_version: str = "",
        encoder_version: str = "",
    ) -> Outputs:
        """Compare approaches on a labelled text collection and register the best one.

        Args:
            name: The task; names the registered model.
            seeds: Each neural approach is trained once for each.
            ingest: The recipe's section of that name, as are the others.
            base: Pretrained LLM of head, instruct and probe.
            tokenize: Truncation.
            lora: Adapter.
            training: Training loop.
            head: Pooling and head.
            instruct: Prompt and answers.
            encoder: BERT-like model.
            tfidf: Word features.
            probe: Logistic regression on frozen embeddings.
            evaluate: Figures on the test rows.
            compare: Tests, and the choice of a champion.
            registry: Registered model and gate.
            source_version: Changes when the source's content does.
            base_version: Changes when the base model's files do.
            encoder_version: Changes when the encoder's files do.
        """
        corpus = ingest_component(settings=ingest, source_version=source_version)
        corpus.set_display_name("Ingest")
        given = Inputs(
            corpus=corpus.outputs["corpus"],
            seeds=seeds,
            base=base,
            tokenize=tokenize,
            lora=lora,
            training=training,
            head=head,
            instruct=instruct,
            encoder=encoder,
            tfidf=tfidf,
            probe=probe,
            evaluate=evaluate,
            base_version=base_version,
            encoder_version=encoder_version,
            parallelism=parallelism,
        )
        judged: Dict[str, Any] = {}
        for approach in approaches:
            judged |= BRANCHES[approach](given)
        compared = compare_component(
            corpus=corpus.outputs["corpus"], settings=compare, **judged
        ).set_display_name("Compare")
        registered = register_component(
            corpus=corpus.outputs["corpus"],
            classifier=compared.outputs["champion"],
            evaluation=compared.outputs["evaluation"],
            name=name,
            settings=registry,
        ).set_display_name("Register")
        # Both tell MLflow outside, where things may have changed since: a cached answer would not.
        compared.set_caching_options(False)
        registered.set_caching_options(False)
        return Outputs(
            corpus=corpus.outputs["corpus"],
            comparison=compared.outputs["comparison"],
            champion=compared.outputs["champion"],
            evaluation=compared.outputs["evaluation"],
            registration=registered.outputs["registration"],
        )

    return classify


def arguments(recipe: Recipe, **versions: str) -> dict[str, Any]:
    """The pipeline's arguments for a recipe.

    Args:
        recipe: its sections that steps read.
        versions: ``source_version`` and so on.
    """
    # Kubeflow has no null. No setting that may be None has another default, so none is lost.
    sections = recipe.model_dump(include=set(SECTIONS), exclude_none=True)
    return {"name": recipe.name, "seeds": recipe.seeds} | versions | sections


SECTIONS = (
    "ingest",
    "base",
    "tokenize",
    "lora",
    "training",
    "head",
    "instruct",
    "encoder",
    "tfidf",
    "probe",
    "evaluate",
    "compare",
    "registry",
)
"""Recipe sections that steps read; ``tracking`` goes into the environment, ``approaches`` into the
pipeline's shape."""
