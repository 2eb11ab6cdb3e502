"""The pipeline: ingest, a branch for each approach, compare, register."""

from contextlib import nullcontext
from typing import Any, Dict, List, NamedTuple, Sequence

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Model
from kfp.dsl.base_component import BaseComponent

from components.compare.component import compare as compare_component
from components.ingest.component import ingest as ingest_component
from components.register.component import register as register_component
from llmclf_core.config import APPROACHES, Approach, Recipe
from pipelines.branches import BRANCHES, Inputs
from pipelines.pods import Cluster, dress, ending


class Outputs(NamedTuple):
    """The artifacts of one execution."""

    corpus: Dataset
    comparison: Artifact
    champion: Model
    evaluation: Artifact
    registration: Artifact


def build(
    approaches: Sequence[Approach] = APPROACHES,
    parallelism: int = 0,
    cluster: Cluster | None = None,
) -> BaseComponent:
    """The pipeline for some approaches.

    Args:
        approaches: each gets a branch.
        parallelism: trainings of one approach at a time, over the seeds; 0: all at once.
        cluster: what it is compiled for; None: a run on this machine, which ends by itself.
    """

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
        with ending() if cluster else nullcontext():
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
            # Both tell MLflow, where things may have changed since: a cached answer would not.
            compared.set_caching_options(False)
            registered.set_caching_options(False)
        if cluster:
            dress(cluster)
            return None  # type: ignore[return-value]
        return Outputs(
            corpus=corpus.outputs["corpus"],
            comparison=compared.outputs["comparison"],
            champion=compared.outputs["champion"],
            evaluation=compared.outputs["evaluation"],
            registration=registered.outputs["registration"],
        )

    if cluster:
        # Kubeflow lets no outputs out of what is followed by an exit handler.
        del classify.__annotations__["return"]
    about = "Train, compare and register text classifiers"
    return dsl.pipeline(classify, name="llmclf", description=about)


def arguments(recipe: Recipe, **versions: str) -> dict[str, Any]:
    """The pipeline's arguments for a recipe.

    Args:
        recipe: its sections that steps read.
        versions: ``source_version`` and so on.
    """
    # Kubeflow has no null. No setting that may be None has another default, so none is lost.
    sections = recipe.model_dump(include=set(SECTIONS), exclude_none=True)
    return {"name": recipe.name, "seeds": recipe.seeds} | versions | sections


def defaults() -> dict[str, Any]:
    """The pipeline's arguments as far as they are the same for every task."""
    fields = Recipe.model_fields
    sections = {name: fields[name].default for name in SECTIONS if not fields[name].is_required()}
    given = {name: section.model_dump(exclude_none=True) for name, section in sections.items()}
    return {"seeds": fields["seeds"].default} | given


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
"""Recipe sections that steps read; ``tracking`` goes into the environment, ``approaches`` and
``cluster`` into the pipeline's shape."""
