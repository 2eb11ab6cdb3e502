"""What a version costs is told by its tags, and the next challenger is judged by it."""

from dataclasses import replace

import pytest

from llmclf_core.approaches import load_classifier
from llmclf_core.approaches.base import Calibration
from llmclf_core.artifacts import Corpus
from llmclf_core.config import EvaluateConfig, RegisterConfig
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.registry.register import register


@pytest.fixture
def submit(store, tmp_path, corpus_path, good):
    """Register a classifier that answers as the good one does, at a cost."""

    def call(temperature, train_seconds, **settings):
        classifier = load_classifier(good[0])
        thresholds = classifier.calibration.thresholds
        classifier.calibration = Calibration(temperature, thresholds)
        place = tmp_path / f"at-{temperature}"
        classifier.save(place / "classifier")
        evaluation = evaluate_classifier(
            classifier, Corpus.load(corpus_path), EvaluateConfig(bootstrap=20)
        )
        cost = {} if train_seconds is None else {"train_seconds": train_seconds}
        evaluation = replace(evaluation, cost=cost, seconds=evaluation.rows / 100)
        evaluation.save(place / "evaluation")
        return register(
            *(place / "classifier", place / "evaluation", corpus_path),
            *(RegisterConfig(**settings), "patents", tmp_path / "registration.json"),
        )

    return call


def test_tags_tell_the_cost(submit, store):
    version = submit(1.0, 12.5).version
    tags = store.get_model_version("patents", version).tags
    assert float(tags["cost.train_seconds"]) == 12.5
    assert float(tags["cost.predict_texts_per_second"]) == 100


def test_a_dear_equal_does_not_replace_the_champion_and_a_cheap_one_does(submit):
    submit(1.0, 1000.0)
    dear = submit(1.5, 9000.0)
    assert not dear.promoted
    # 2,000 s against 10,000 s: 100,000 texts take 1,000 s.
    assert "rule keeps the champion (version 1)" in dear.reasons[0]
    assert submit(2.0, 10.0, texts=1).promoted


def test_the_number_of_texts_decides_what_training_weighs(submit):
    submit(1.0, 100.0)
    assert submit(1.5, 150.0, texts=1_000_000).promoted  # 10,100 s against 10,150 s
    assert not submit(2.0, 300.0, texts=100).promoted  # 151 s against 301 s


def test_a_champion_without_cost_tags_is_judged_by_the_score(submit):
    submit(1.0, None)
    later = submit(1.5, 9000.0)
    assert later.promoted
    assert any("the cost is not known" in reason for reason in later.reasons)
