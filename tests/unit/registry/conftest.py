"""SQLite stores, a real MLflow server, and real classifiers, good and bad."""

from __future__ import annotations

import shutil

import pytest
from mlflow import MlflowClient

from llmclf_core.artifacts import Corpus
from llmclf_core.config import EvaluateConfig
from llmclf_core.evaluation.evaluate import evaluate_classifier
from tests.mlflow_helpers import Server, build_classifier, use_store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A SQLite file with MLflow's tables, made once: that takes a second."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def new_store(tmp_path, monkeypatch, empty_store):
    """Makes an empty SQLite store and sets it in the environment; a client to look at it."""

    def make(name):
        (tmp_path / name).mkdir()
        shutil.copyfile(empty_store, tmp_path / name / "mlflow.db")
        return use_store(f"sqlite:///{tmp_path}/{name}/mlflow.db", monkeypatch)

    return make


@pytest.fixture
def store(new_store):
    return new_store("store")


@pytest.fixture(scope="session")
def running_server(tmp_path_factory, empty_store):
    server = Server(tmp_path_factory.mktemp("mlflow-server"))
    shutil.copyfile(empty_store, server.directory / "server.db")
    yield server
    server.kill()


@pytest.fixture
def server(running_server):
    """The server, up when the test starts, whatever the one before did to it."""
    if running_server.process is None:
        running_server.start()
    return running_server


@pytest.fixture(scope="session")
def good(tmp_path_factory, tiny_base, corpus_path):
    """(classifier, evaluation) directories of a classifier that has learnt."""
    return _built(tmp_path_factory.mktemp("good"), tiny_base, corpus_path, 1.0)


@pytest.fixture(scope="session")
def bad(tmp_path_factory, tiny_base, corpus_path):
    """The same of one that is much worse."""
    return _built(tmp_path_factory.mktemp("bad"), tiny_base, corpus_path, 0.0)


def _built(directory, base, corpus_path, skill):
    corpus = Corpus.load(corpus_path)
    classifier = build_classifier(
        base, corpus, directory / "classifier", skill, seed=7, git_commit="abc", run_key=None
    )
    evaluation = evaluate_classifier(classifier, corpus, EvaluateConfig(bootstrap=50))
    evaluation.save(directory / "evaluation")
    return directory / "classifier", directory / "evaluation"
