"""A small but complete classifier, and corpora whose right answers are known."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.artifacts import CORPUS_FEATURES, Corpus
from llmclf_core.labels import LabelSpace
from llmclf_core.paths import fingerprint


class TableClassifier(Classifier):
    """Answers known texts from a table; notes which texts it was asked."""

    approach = "table"

    def __init__(self, labels, table, calibration=None):
        super().__init__(labels, calibration)
        self.table = table
        self.asked = []

    def predict_logits(self, texts, batch_size=16):
        self.asked.extend(texts)
        return np.asarray([self.table[t] for t in texts], np.float32)

    def _write(self, path):
        (path / "table.json").write_text(json.dumps(self.table))
        return {}

    @classmethod
    def _read(cls, path, header, labels, base):
        return cls(labels, json.loads((path / "table.json").read_text()))

    @property
    def fingerprint(self):
        return fingerprint(self.table, self.calibration.temperature)


def sample(task, rows, n_labels, seed=0, noise=1.5):
    """Truth and informative, overconfident logits."""
    rng = np.random.default_rng(seed)
    if task == "single":
        truth = np.eye(n_labels, dtype=np.int8)[rng.integers(n_labels, size=rows)]
    else:
        truth = (rng.random((rows, n_labels)) < 0.3).astype(np.int8)
    logits = 3 * (2.0 * truth - 1 + noise * rng.normal(size=truth.shape))
    return truth, logits.astype(np.float32)


def space(task, n_labels):
    return LabelSpace(tuple(f"label {i}" for i in range(n_labels)), task)


def build(task, rows=60, n_labels=4, text="text {}", calibration=None):
    """A corpus and a classifier that knows its texts."""
    truth, logits = sample(task, rows, n_labels)
    texts = [text.format(i) for i in range(rows)]
    test = {
        "id": [f"r{i}" for i in range(rows)],
        "text": texts,
        "labels": [np.flatnonzero(t).tolist() for t in truth],
    }
    train = {"id": ["t"], "text": ["only for training"], "labels": [[0]]}
    splits = {
        name: datasets.Dataset.from_dict(data, features=CORPUS_FEATURES)
        for name, data in (("train", train), ("validation", train), ("test", test))
    }
    labels = space(task, n_labels)
    corpus = Corpus(splits, labels, "corpusprint", {"rows": {"test": rows}, "warnings": []})
    table = dict(zip(texts, logits.tolist(), strict=True))
    return corpus, TableClassifier(labels, table, calibration)


@pytest.fixture(params=["single", "multi"])
def task(request):
    return request.param


@pytest.fixture
def judged(task):
    calibration = Calibration(2.0, (0.4, 0.5, 0.6, 0.5))
    return build(task, calibration=calibration)
