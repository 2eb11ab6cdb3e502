"""Each component in a fresh process, KFP's local runner around it: artifacts and metadata out."""

import csv
from pathlib import Path
from typing import Any, Dict, NamedTuple

import pytest
from kfp import dsl, local
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Metrics, Model

from components.compare.component import compare
from components.evaluate.component import evaluate
from components.finetune_head.component import finetune_head
from components.fit_tfidf.component import fit_tfidf
from components.ingest.component import ingest
from components.register.component import register
from components.tokenize.component import tokenize
from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import Corpus, Tokens
from llmclf_core.evaluation.comparison import Comparison
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.registry.register import Registration
from tests.conftest import make_corpus


class Outputs(NamedTuple):
    """Everything that any of the components writes."""

    corpus: Dataset
    tokens: Dataset
    classifier: Model
    evaluation: Artifact
    metrics: Metrics
    classification: ClassificationMetrics
    report: HTML
    comparison: Artifact
    champion: Model
    comparison_metrics: Metrics
    registration: Artifact


@dsl.pipeline(name="every-component")
def every_component(
    source: Dict[str, Any], base: Dict[str, Any], settings: Dict[str, Any], floor: Dict[str, Any]
) -> Outputs:
    """The components, each fed with what the one before wrote; nothing of ours around them."""
    corpus = ingest(settings=source).outputs["corpus"]
    tokens = tokenize(
        corpus=corpus, approach="head", base=base, settings={"max_length": 64}
    ).outputs["tokens"]
    classifier = finetune_head(
        tokens=tokens, base=base, lora={"rank": 4}, head={}, training=settings
    ).outputs["classifier"]
    words = fit_tfidf(corpus=corpus, settings={"c": [1.0]}).outputs["classifier"]
    judged = evaluate(
        corpus=corpus, classifier=words, approach="tfidf", settings={"bootstrap": 100}
    ).outputs
    compared = compare(
        corpus=corpus,
        settings={"bootstrap": 100},
        tfidf=words,
        tfidf_evaluation=judged["evaluation"],
    ).outputs
    registered = register(
        corpus=corpus,
        classifier=words,
        evaluation=judged["evaluation"],
        name="alone",
        settings=floor,
    )
    return Outputs(
        corpus=corpus,
        tokens=tokens,
        classifier=classifier,
        evaluation=judged["evaluation"],
        metrics=judged["metrics"],
        classification=judged["classification"],
        report=judged["report"],
        comparison=compared["comparison"],
        champion=compared["champion"],
        comparison_metrics=compared["metrics"],
        registration=registered.outputs["registration"],
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, tiny_base):
    root = tmp_path_factory.mktemp("components")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCLF_CACHE", str(root / "cache"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.setenv("OMP_NUM_THREADS", "1")
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root / "out"))
        yield every_component(
            source={"source": str(write_csv(root))},
            base={"source": str(tiny_base)},
            settings={"epochs": 1},
            floor={"floor": {"macro_f1": 1.01}},
        ).outputs


def write_csv(root):
    corpus = make_corpus({"train": 30})
    with (root / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in corpus.splits["train"]:
            writer.writerow([row["text"], corpus.labels.names[row["labels"][0]]])
    return root / "data.csv"


def test_ingest(outputs):
    corpus = Corpus.load(Path(outputs["corpus"].path))
    metadata = outputs["corpus"].metadata
    assert metadata["train"] == len(corpus.splits["train"])
    assert (metadata["labels"], metadata["task"]) == (3, "single")


def test_tokenize(outputs):
    tokens = Tokens.load(Path(outputs["tokens"].path))
    assert set(tokens.splits) == {"train", "validation"}
    assert outputs["tokens"].metadata["train_rows"] == tokens.statistics["train"]["rows"]


def test_finetune_head(outputs):
    classifier = load_classifier(Path(outputs["classifier"].path))
    assert outputs["classifier"].metadata["fingerprint"] == classifier.fingerprint


def test_evaluate_fills_what_the_kubeflow_page_shows(outputs):
    evaluation = Evaluation.load(Path(outputs["evaluation"].path))
    assert figures(outputs["metrics"], "Metrics of tfidf") == pytest.approx(evaluation.metrics)
    matrix = outputs["classification"].metadata["confusionMatrix"]
    assert [s["displayName"] for s in matrix["annotationSpecs"]] == ["money", "music", "sport"]
    assert [r["row"] for r in matrix["rows"]] == evaluation.confusion
    page = Path(outputs["report"].path).read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")


def figures(metrics, title):
    shown = dict(metrics.metadata)
    assert shown.pop("display_name") == title
    return shown


def test_compare_hands_on_the_champion(outputs):
    comparison = Comparison.load(Path(outputs["comparison"].path))
    champion = load_classifier(Path(outputs["champion"].path))
    assert champion.approach == comparison.champion == "tfidf"
    assert champion.fingerprint == comparison.winner.chosen
    mean = comparison.winner.metrics["macro_f1"].mean
    shown = figures(outputs["comparison_metrics"], "Compared metric")
    assert shown == {"tfidf_macro_f1": pytest.approx(mean)}


def test_register_says_why_it_refuses(outputs):
    registration = Registration.load(Path(outputs["registration"].path))
    assert registration.aliases == ["challenger"]
    assert not registration.promoted
    assert "macro_f1" in registration.reasons[0]


def test_a_users_mistake_fails_the_step_with_one_line(tmp_path, capfd):
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    with pytest.raises(RuntimeError, match="FAILURE"):
        ingest(settings={"source": "/none.csv"})
    printed = capfd.readouterr()
    assert "error: /none.csv does not exist" in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
