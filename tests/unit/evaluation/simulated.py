"""Whole comparisons with predictions from numpy: rows that are hard for all, skill, chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import datasets
import numpy as np

from llmclf_core.approaches.base import Calibration
from llmclf_core.artifacts import CORPUS_FEATURES, Corpus
from llmclf_core.config import EvaluateConfig
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.labels import LabelSpace

from .conftest import TableClassifier

NEWS = ("business", "entertainment", "politics", "sport", "technology")
TAGS = (
    *("admin", "devel", "doc", "game", "graphics", "hardware", "mail", "multimedia"),
    *("network", "office", "science", "security", "text", "web-and-other-internet-services"),
)
WORDS = ("market", "team", "film", "vote", "match", "phone", "court", "share", "goal", "song")


@dataclass(frozen=True)
class Kind:
    """How an approach is simulated: ``skill`` against ``chance``, alike for all or a seed's own."""

    approach: str
    skill: float
    seconds: float
    speed: float
    parameters: float
    base: str | None = None
    chance: float = 0.9
    peak: float = 900.0


KINDS = {
    kind.approach: kind
    for kind in (
        Kind("tfidf", 3.45, 2.1, 9000, 250_000, chance=0.8),
        Kind("probe", 2.9, 41, 22, 2885, "HuggingFaceTB/SmolLM2-135M-Instruct"),
        Kind("encoder", 3.7, 180, 60, 22_700_000, "nreimers/MiniLM-L6-H384-uncased"),
        Kind("head", 4.0, 560, 11, 1_230_000, "HuggingFaceTB/SmolLM2-135M-Instruct"),
        Kind("instruct", 3.6, 840, 6.5, 1_220_000, "HuggingFaceTB/SmolLM2-135M-Instruct"),
    )
}


def corpus_of(names=NEWS, task="single", rows=446, seed=0):
    rng = np.random.default_rng(seed)
    if task == "single":
        labels = [[int(i)] for i in rng.choice(len(names), size=rows)]
    else:
        prior = rng.uniform(0.04, 0.35, size=len(names))
        labels = [np.flatnonzero(rng.random(len(names)) < prior).tolist() for _ in range(rows)]
    texts = [f"Text {i}: " + " ".join(rng.choice(WORDS, size=40)) for i in range(rows)]
    test = {"id": [f"row-{i}" for i in range(rows)], "text": texts, "labels": labels}
    split = datasets.Dataset.from_dict(test, features=CORPUS_FEATURES)
    splits = dict.fromkeys(("train", "validation"), split.select([0])) | {"test": split}
    report = {"rows": {"read": rows * 5, "kept": rows * 5}, "warnings": ["a label is rare"]}
    return Corpus(splits, LabelSpace(tuple(names), task), f"corpus-{seed}", report)


def trial(corpus, approach, seed=None, **changes):
    """One evaluation; equal arguments give equal predictions."""
    kind = replace(KINDS[approach], **changes)
    labels = corpus.labels
    test = corpus.splits["test"]
    truth = labels.indicators(test["labels"])
    shared = np.random.default_rng(7).normal(size=truth.shape)
    own = np.random.default_rng([sorted(KINDS).index(approach), (seed or 0) + 1])
    sign = truth if labels.task == "single" else truth - 0.6
    logits = kind.skill * sign + 1.1 * shared + kind.chance * own.normal(size=truth.shape)
    table = dict(zip(test["text"], (1.7 * logits).tolist(), strict=True))
    calibration = Calibration(1.6, (0.5,) * len(labels))
    evaluation = evaluate_classifier(
        TableClassifier(labels, table, calibration), corpus, EvaluateConfig(bootstrap=50)
    )
    noise = own.uniform(0.95, 1.05)
    cost = {
        "train_seconds": kind.seconds * noise,
        "trained_parameters": kind.parameters,
        "peak_memory_mb": kind.peak * noise,
        "artifact_mb": kind.parameters * 4e-6,
    }
    if kind.base:
        cost["train_tokens_per_second"] = 3e5 / kind.seconds * noise
    return replace(
        evaluation,
        approach=approach,
        seconds=evaluation.rows / kind.speed,
        seed=seed,
        base=kind.base,
        cost=cost,
        validation={"best_validation_macro_f1": 0.9 + 0.01 * own.random()},
        trained_on=corpus.fingerprint,
    )


def trials(corpus, approaches=tuple(KINDS), seeds=(0,), **changes):
    """One evaluation of tfidf and probe each, one a seed of the others."""
    return [
        trial(corpus, approach, seed, **changes)
        for approach in approaches
        for seed in ((None,) if approach in ("tfidf", "probe") else seeds)
    ]
