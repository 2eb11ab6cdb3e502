"""One suite for all approaches, as scikit-learn's ``check_estimator`` is for estimators."""

from __future__ import annotations

import pytest

from llmclf_core.approaches import APPROACHES
from tests.conformance import checks, saving_checks
from tests.conformance.factories import FACTORIES

VARIANTS = [(approach, name) for approach, variants in FACTORIES.items() for name in variants]


@pytest.fixture(scope="module", params=["single", "multi"])
def task(request):
    return request.param


@pytest.fixture(scope="module", params=VARIANTS, ids="-".join)
def subject(request, task, corpus_path, multi_corpus_path, tiny_base, tmp_path_factory):
    approach, variant = request.param
    corpus = corpus_path if task == "single" else multi_corpus_path
    return FACTORIES[approach][variant](corpus, tiny_base, tmp_path_factory.mktemp(approach))


def test_every_approach_is_examined():
    assert FACTORIES.keys() == APPROACHES.keys()


def test_task_is_that_of_the_corpus(subject, task):
    assert subject.classifier.labels.task == task
    assert subject.classifier.labels.names == ("money", "music", "sport")


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__[6:])
def test_answers(subject, check, tmp_path):
    check(subject, tmp_path)


@pytest.mark.parametrize("check", saving_checks.CHECKS, ids=lambda check: check.__name__[6:])
def test_saving(subject, check, tmp_path):
    check(subject, tmp_path)
