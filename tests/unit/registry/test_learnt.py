"""The champion is not measured on rows that it was trained on, and never stops a registration."""

from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import CORPUS_FEATURES, Corpus
from llmclf_core.config import EvaluateConfig, RegisterConfig
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.evaluation.significance import paired_bootstrap
from llmclf_core.registry import champion
from llmclf_core.registry.learnt import text_hashes
from llmclf_core.registry.register import register
from tests.conftest import make_corpus

NAME = "patents"


@pytest.fixture
def submit(store, tmp_path):
    """Evaluate a classifier on a corpus and register it."""

    def call(classifier, corpus, **settings):
        path = tmp_path / corpus.fingerprint
        corpus.save(path)
        evaluation = evaluate_classifier(
            load_classifier(classifier), corpus, EvaluateConfig(bootstrap=20)
        )
        evaluation.save(tmp_path / "evaluation")
        return register(
            *(classifier, tmp_path / "evaluation", path, RegisterConfig(**settings)),
            *(NAME, tmp_path / "registration.json"),
        )

    return call


@pytest.fixture
def trained(corpus_path):
    return Corpus.load(corpus_path)


def split(texts, labels):
    ids = [f"row-{i}" for i in range(len(texts))]
    data = {"id": ids, "text": texts, "labels": labels}
    return datasets.Dataset.from_dict(data, features=CORPUS_FEATURES)


def grown(trained, known, new=40):
    """A corpus with so many test texts of the champion's training, and new ones."""
    other = make_corpus({"train": 4, "validation": 4, "test": 20}, seed=5)
    learnt = [row for name in ("train", "validation") for row in trained.splits[name]]
    old = [learnt[7 * i % len(learnt)] for i in range(known)]
    texts = [f"  {row['text'].upper()}\n" for row in old]
    rows = other.splits["test"].select(range(new))
    test = split(texts + rows["text"][:], [row["labels"] for row in old] + rows["labels"][:])
    return replace(other, splits=other.splits | {"test": test}, fingerprint=f"grown-{known}-{new}")


def test_rows_that_the_champion_has_learnt_from_are_left_out(submit, good, bad, trained):
    submit(good[0], trained)
    corpus = grown(trained, known=24)
    result = submit(bad[0], corpus)
    fresh = replace(
        corpus, splits=corpus.splits | {"test": corpus.splits["test"].select(range(24, 64))}
    )
    mine, theirs = (
        evaluate_classifier(load_classifier(c[0]), fresh, EvaluateConfig(bootstrap=20)).predictions
        for c in (bad, good)
    )
    gain = paired_bootstrap(mine.truth, mine.predicted, theirs.predicted)
    assert result.reasons[0].startswith(
        f"significantly worse: macro F1 {gain.difference:+.4f} against the champion (version 1) on "
        f"40 rows (24 more left out, which it has learnt from), 95 % interval [{gain.low:+.4f}, "
    )


def test_nothing_left_out_is_not_told(submit, good, bad, trained):
    submit(good[0], trained)
    reason = submit(bad[0], grown(trained, known=0)).reasons[0]
    assert "on 40 rows, 95 % interval" in reason


@pytest.mark.parametrize(("known", "new"), [(20, 29), (300, 32)])
def test_too_few_new_rows_are_no_comparison(submit, good, bad, trained, known, new):
    submit(good[0], trained)
    result = submit(bad[0], grown(trained, known, new))
    assert not result.promoted
    assert f"it has learnt from {known} of the {known + new} test rows" in result.reasons[0]
    assert f"the other {new} are too few to compare on" in result.reasons[0]


def test_few_rows_that_are_all_new_are_a_comparison(submit, good, bad, trained):
    submit(good[0], trained)
    assert "on 20 rows, " in submit(bad[0], grown(trained, known=0, new=20)).reasons[0]


def stored(store, result):
    return Path(store.get_run(result.run_id).info.artifact_uri.removeprefix("file://"))


def test_version_of_an_older_llmclf_is_refused_until_it_is_registered_again(
    submit, store, good, bad, trained
):
    first = submit(good[0], trained)
    (hashes,) = stored(store, first).rglob("learnt_texts/*.npy")
    hashes.unlink()
    corpus = grown(trained, known=24)
    refused = submit(bad[0], corpus)
    assert not refused.promoted
    assert refused.reasons == [
        "it cannot be compared with the champion (version 1): it is not known which of the test "
        "rows it was trained on: an older llmclf registered it, or it was registered with a corpus "
        "that it was not trained on; register it again with its training corpus, or move the alias "
        "champion by hand"
    ]
    assert submit(good[0], trained).version == first.version
    assert "24 more left out" in submit(bad[0], corpus).reasons[0]


def test_what_was_learnt_is_kept_only_of_the_training_corpus(
    submit, store, good, bad, trained, tmp_path
):
    classifier = load_classifier(good[0])
    classifier.lineage = {"corpus": "another"}
    classifier.save(tmp_path / "elsewhere")
    result = submit(tmp_path / "elsewhere", trained)
    assert not list(stored(store, result).rglob("learnt_texts"))
    assert not list(stored(store, result).rglob("predictions"))
    assert "it is not known which" in submit(bad[0], trained).reasons[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of\nmemory"), "OutOfMemoryError: CUDA out of memory"),
        (RuntimeError("at http://me:secret@host"), "RuntimeError: at http://***@host"),
        (MemoryError(), "MemoryError: "),
    ],
)
def test_champion_that_fails_to_predict_does_not_stop_the_registration(
    submit, store, good, bad, trained, monkeypatch, error, told
):
    submit(good[0], trained)

    def fail(*args):
        raise error

    monkeypatch.setattr(champion, "evaluate_classifier", fail)
    result = submit(bad[0], grown(trained, known=0))
    assert (result.version, result.promoted, result.aliases) == ("2", False, ["challenger"])
    problem = "it cannot be compared with the champion (version 1): " + told
    assert result.reasons == [problem.strip()]


def test_hashes_look_past_white_space_and_case():
    texts = ["Ein  Haus\n", "ein haus", "ein\thaus", "EIN HAUS ÄÖ", "ein haus äö", "ein hau", ""]
    found = text_hashes(split(texts, [[0]] * len(texts)))
    assert found.dtype == np.uint64
    assert (found[0], found[3]) == (found[1], found[4])
    assert len(set(found.tolist())) == 4
    assert text_hashes(split([], [])).shape == (0,)


def test_hashes_are_those_of_every_process():
    assert int(text_hashes(split(["a B"], [[0]]))[0]) == 9804581064242713102


def test_many_rows_keep_their_order():
    texts = [f"text {i}" for i in range(25_000)]
    rows = split(texts, [[0]] * len(texts))
    found = text_hashes(rows)
    assert len(np.unique(found)) == len(texts)
    some = [0, 9_999, 10_000, 24_999]
    np.testing.assert_array_equal(text_hashes(rows.select(some)), found[some])
