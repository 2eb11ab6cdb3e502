"""The branch of each approach: from the corpus to a classifier and its evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask

from components.evaluate.component import evaluate as evaluate_component
from components.finetune_encoder.component import finetune_encoder as finetune_encoder_component
from components.finetune_head.component import finetune_head as finetune_head_component
from components.finetune_instruct.component import finetune_instruct as finetune_instruct_component
from components.fit_probe.component import fit_probe as fit_probe_component
from components.fit_tfidf.component import fit_tfidf as fit_tfidf_component
from components.tokenize.component import tokenize as tokenize_component
from llmclf_core.config import Approach


class Inputs(NamedTuple):
    """What all branches have: artifacts and pipeline parameters, as KFP's channels."""

    corpus: Any
    seeds: Any
    base: Any
    tokenize: Any
    lora: Any
    training: Any
    head: Any
    instruct: Any
    encoder: Any
    tfidf: Any
    probe: Any
    evaluate: Any
    base_version: Any
    encoder_version: Any
    parallelism: int


Judged = dict[str, Any]
"""The comparison's arguments that a branch supplies."""


def _evaluate(given: Inputs, trained: PipelineTask, approach: str, seed: Any = -1) -> PipelineTask:
    return evaluate_component(
        corpus=given.corpus,
        classifier=trained.outputs["classifier"],
        approach=approach,
        settings=given.evaluate,
        seed=seed,
    ).set_display_name(f"Evaluate {approach}")


def _tokens(given: Inputs, approach: str, **own: Any) -> Any:
    shared = {"base": given.base, "settings": given.tokenize, "base_version": given.base_version}
    return (
        tokenize_component(corpus=given.corpus, approach=approach, **(own or shared))
        .set_display_name(f"Tokenize for {approach}")
        .outputs["tokens"]
    )


def _one(approach: str, trained: PipelineTask, judged: PipelineTask) -> Judged:
    return {
        approach: trained.outputs["classifier"],
        f"{approach}_evaluation": judged.outputs["evaluation"],
    }


def _for_each_seed(
    given: Inputs, approach: str, train: Callable[[Any], PipelineTask], title: str
) -> Judged:
    with dsl.ParallelFor(given.seeds, name=approach, parallelism=given.parallelism) as seed:
        trained = train(seed).set_display_name(title)
        judged = _evaluate(given, trained, approach, seed)
    return {
        approach: dsl.Collected(trained.outputs["classifier"]),
        f"{approach}_evaluations": dsl.Collected(judged.outputs["evaluation"]),
    }


def tfidf(given: Inputs) -> Judged:
    """Word features and logistic regression."""
    trained = fit_tfidf_component(corpus=given.corpus, settings=given.tfidf)
    trained.set_display_name("Fit TF-IDF")
    return _one("tfidf", trained, _evaluate(given, trained, "tfidf"))


def probe(given: Inputs) -> Judged:
    """Logistic regression on frozen embeddings."""
    tokens = _tokens(given, "probe")
    trained = fit_probe_component(tokens=tokens, base=given.base, settings=given.probe)
    trained.set_display_name("Fit probe")
    return _one("probe", trained, _evaluate(given, trained, "probe"))


def encoder(given: Inputs) -> Judged:
    """A fine-tuned encoder for each seed."""
    tokens = _tokens(given, "encoder", own=given.encoder, base_version=given.encoder_version)

    def train(seed: Any) -> PipelineTask:
        return finetune_encoder_component(tokens=tokens, settings=given.encoder, seed=seed)

    return _for_each_seed(given, "encoder", train, "Fine-tune encoder")


def head(given: Inputs) -> Judged:
    """Adapter and head for each seed."""
    tokens = _tokens(given, "head")

    def train(seed: Any) -> PipelineTask:
        return finetune_head_component(
            tokens=tokens,
            base=given.base,
            lora=given.lora,
            head=given.head,
            training=given.training,
            seed=seed,
        )

    return _for_each_seed(given, "head", train, "Fine-tune head")


def instruct(given: Inputs) -> Judged:
    """An instruction-tuned adapter for each seed."""
    tokens = _tokens(
        given,
        "instruct",
        base=given.base,
        settings=given.tokenize,
        own=given.instruct,
        base_version=given.base_version,
    )

    def train(seed: Any) -> PipelineTask:
        return finetune_instruct_component(
            tokens=tokens,
            base=given.base,
            lora=given.lora,
            instruct=given.instruct,
            training=given.training,
            seed=seed,
        )

    return _for_each_seed(given, "instruct", train, "Fine-tune instruct")


BRANCHES: dict[Approach, Callable[[Inputs], Judged]] = {
    "tfidf": tfidf,
    "probe": probe,
    "encoder": encoder,
    "head": head,
    "instruct": instruct,
}
