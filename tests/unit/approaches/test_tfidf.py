"""What is the TF-IDF approach's own; the rest is in tests/conformance."""

import json
import os
import subprocess
import sys
import warnings

import datasets
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from llmclf_core.approaches import load_classifier
from llmclf_core.approaches.tfidf import fit_vectorizer, rebuild_vectorizer
from llmclf_core.artifacts import CORPUS_FEATURES, Corpus
from llmclf_core.config import TfidfConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.steps.fit_tfidf import fit_tfidf
from tests.conftest import make_corpus

ODD = [
    "",
    "   ",
    "Match GOAL match",
    "Ärger über Öl",
    "漢字かな 한국어",
    "lone \ud800 surrogate",
    "nul\0byte",
    "team " * 20_000,
    "x" * 50_000,
    "never seen before",
    "🎸 song",
]


def rows(texts, labels):
    ids = [str(i) for i in range(len(texts))]
    return datasets.Dataset.from_dict(
        {"id": ids, "text": texts, "labels": labels}, features=CORPUS_FEATURES
    )


def saved(path, splits, names, task="single", fingerprint="made-up"):
    Corpus(splits, LabelSpace(tuple(names), task), fingerprint).save(path)
    return path


@pytest.mark.parametrize("c", [0.5, 20.0])
def test_single_label_equals_a_plain_pipeline(corpus_path, tmp_path, c):
    corpus = Corpus.load(corpus_path)
    train, test = corpus.splits["train"], corpus.splits["test"]
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=c, max_iter=2000),
    ).fit(train["text"], [labels[0] for labels in train["labels"]])
    classifier = fit_tfidf(corpus_path, TfidfConfig(c=[c]), tmp_path / "c")
    texts = [*test["text"], *(t for t in ODD if "\ud800" not in t)]
    expected = plain.decision_function(texts)
    np.testing.assert_allclose(classifier.predict_logits(texts), expected, atol=1e-4)
    predicted = [classifier.labels.names[i] for i in plain.predict(texts)]
    assert classifier.predict(texts) == [[name] for name in predicted]


def test_multi_label_equals_one_against_the_rest(multi_corpus_path, tmp_path):
    corpus = Corpus.load(multi_corpus_path)
    train, test = corpus.splits["train"], corpus.splits["test"]
    truth = corpus.labels.indicators(train["labels"])
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 1), min_df=1, lowercase=False),
        OneVsRestClassifier(LogisticRegression(C=10, max_iter=2000)),
    ).fit(train["text"], truth)
    config = TfidfConfig(max_ngram=1, min_rows=1, lowercase=False, sublinear=False, c=[10])
    classifier = fit_tfidf(multi_corpus_path, config, tmp_path / "c")
    np.testing.assert_allclose(
        classifier.predict_logits(test["text"]), plain.decision_function(test["text"]), atol=1e-4
    )


def test_two_labels_have_two_columns(tmp_path):
    texts = ["good fine", "bad poor"] * 10
    data = rows(texts, [[0], [1]] * 10)
    path = saved(tmp_path / "corpus", {"train": data, "validation": data, "test": data}, "ab")
    classifier = fit_tfidf(path, TfidfConfig(c=[1.0]), tmp_path / "c")
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=1.0, max_iter=2000),
    ).fit(texts, [0, 1] * 10)
    classifier.calibration = type(classifier.calibration).none(2)
    found = classifier.predict_proba(["good", "poor bad", ""])
    np.testing.assert_allclose(found, plain.predict_proba(["good", "poor bad", ""]), atol=1e-6)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_label_without_training_rows_does_not_win(tmp_path, task):
    data = rows(["good fine", "bad poor", "so so"] * 10, [[0], [3], [1]] * 10)
    held_out = rows(["good fine", "bad poor", "unknown words"], [[0], [3], [2]])
    splits = {"train": data, "validation": held_out, "test": held_out}
    path = saved(tmp_path / "corpus", splits, "abcd", task)
    classifier = fit_tfidf(path, TfidfConfig(), tmp_path / "c")
    logits = classifier.predict_logits(["good", "bad", "", "unknown", "so"])
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) != 2).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_ngram": 1, "lowercase": False},
        {"sublinear": False, "min_rows": 1},
        {"max_ngram": 3, "max_features": 50},
    ],
    ids=str,
)
def test_rebuilt_vectorizer_transforms_identically(corpus_path, options):
    texts = Corpus.load(corpus_path).splits["train"]["text"]
    config = TfidfConfig(**options)
    fitted = fit_vectorizer(texts, config)
    vocabulary = json.loads(json.dumps(fitted.get_feature_names_out().tolist()))
    rebuilt = rebuild_vectorizer(config, vocabulary, fitted.idf_)
    asked = [*texts, *ODD]
    difference = fitted.transform(asked) != rebuilt.transform(asked)
    assert difference.nnz == 0
    assert fitted.transform(asked).nnz > 0


def test_reloaded_logits_are_bitwise_equal(corpus_path, tmp_path):
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    loaded = load_classifier(tmp_path / "c")
    assert np.array_equal(loaded.predict_logits(ODD), classifier.predict_logits(ODD))


def test_lone_surrogates_are_replaced(corpus_path, tmp_path):
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    odd, plain = classifier.predict_logits(["match \ud800 goal", "match \ufffd goal"])
    assert np.array_equal(odd, plain)


@pytest.mark.parametrize("texts", ["one text", ["a", None]])
def test_what_is_not_text(corpus_path, tmp_path, texts):
    with pytest.raises(UserError, match=r"one text was given|not a string but NoneType"):
        fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c").predict(texts)


def test_regularisation_is_the_best_on_the_validation_rows(corpus_path, tmp_path):
    """With validation labels turned round, what fits the training rows least is best."""
    corpus = Corpus.load(corpus_path)
    candidates = [0.001, 1.0, 1000.0]
    honest = fit_tfidf(corpus_path, TfidfConfig(c=candidates), tmp_path / "honest")
    scores = {}
    for c in candidates:
        alone = fit_tfidf(corpus_path, TfidfConfig(c=[c]), tmp_path / f"c{c}")
        scores[c] = alone.validation["best_validation_macro_f1"]
    assert honest.validation["best_validation_macro_f1"] == max(scores.values())
    validation = corpus.splits["validation"]
    wrong = [[(labels[0] + 1) % 3] for labels in validation["labels"]]
    splits = corpus.splits | {"validation": rows(list(validation["text"]), wrong)}
    path = saved(tmp_path / "corpus", splits, corpus.labels.names)
    turned = fit_tfidf(path, TfidfConfig(c=candidates), tmp_path / "turned")
    assert turned.validation["best_c"] != honest.validation["best_c"]


def test_among_equal_f1_the_lower_log_loss_is_taken(tmp_path):
    data = rows(["good fine", "bad poor"] * 10, [[0], [1]] * 10)
    path = saved(tmp_path / "corpus", {"train": data, "validation": data, "test": data}, "ab")
    classifier = fit_tfidf(path, TfidfConfig(c=[100.0, 0.1, 1.0]), tmp_path / "c")
    assert classifier.validation == {"best_validation_macro_f1": 1.0, "best_c": 100.0}


def test_test_rows_change_nothing(corpus_path, tmp_path):
    corpus = Corpus.load(corpus_path)
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    other = rows(["entirely other words"] * 5, [[0]] * 5)
    path = saved(tmp_path / "corpus", corpus.splits | {"test": other}, corpus.labels.names)
    assert fit_tfidf(path, TfidfConfig(), tmp_path / "o").fingerprint == classifier.fingerprint


def test_calibration_is_fitted_on_the_validation_rows(corpus_path, multi_corpus_path, tmp_path):
    single = fit_tfidf(corpus_path, TfidfConfig(c=[0.01]), tmp_path / "s")
    assert single.calibration.temperature != 1.0
    multi = fit_tfidf(multi_corpus_path, TfidfConfig(), tmp_path / "m")
    assert multi.calibration.thresholds != (0.5,) * 3


def test_cost(corpus_path, tmp_path):
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    assert set(classifier.cost) == {
        "trained_parameters",
        "train_seconds",
        "peak_memory_mb",
    }
    assert classifier.cost["trained_parameters"] == 3 * (len(classifier.vocabulary) + 1)
    assert load_classifier(tmp_path / "c").cost == classifier.cost


def test_same_fit_again_is_there_at_once(corpus_path, tmp_path, monkeypatch):
    first = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "a")

    def refit(*arguments):
        raise AssertionError("fitted again")

    monkeypatch.setattr("llmclf_core.steps.fit_tfidf.fit_regression", refit)
    second = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "b")
    assert (second.fingerprint, second.cost) == (first.fingerprint, first.cost)
    with pytest.raises(AssertionError, match="fitted again"):
        fit_tfidf(corpus_path, TfidfConfig(c=[3.0]), tmp_path / "c")


def test_damaged_result_of_before_is_fitted_again(corpus_path, tmp_path, own_cache):
    first = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "a")
    (kept,) = (own_cache / "training").glob("*/classifier/weights.safetensors")
    kept.write_bytes(kept.read_bytes()[:-5])
    assert fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "b").fingerprint == first.fingerprint


def test_no_common_word(tmp_path):
    data = rows(["one", "two", "three", "four"], [[0], [1]] * 2)
    path = saved(tmp_path / "corpus", {"train": data, "validation": data, "test": data}, "ab")
    with pytest.raises(UserError, match=r"tfidf\.min_rows is 2, but no word .* 4 training texts"):
        fit_tfidf(path, TfidfConfig(), tmp_path / "c")
    with pytest.raises(UserError, match=r"tfidf\.min_rows is 50"):
        fit_tfidf(path, TfidfConfig(min_rows=50), tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_no_rows(tmp_path, split):
    corpus = make_corpus({"train": 2, "validation": 2, "test": 2})
    corpus.splits[split] = corpus.splits[split].select([])
    corpus.save(tmp_path / "corpus")
    with pytest.raises(UserError, match=f"has no {split} rows"):
        fit_tfidf(tmp_path / "corpus", TfidfConfig(), tmp_path / "c")


def test_fits_without_a_warning(corpus_path, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_tfidf(corpus_path, TfidfConfig(c=[1000.0]), tmp_path / "c")


FIT_AND_EVALUATE = """
import sys
from pathlib import Path
from llmclf_core.config import EvaluateConfig, TfidfConfig
from llmclf_core.steps.fit_tfidf import fit_tfidf

def torch_free():
    return not {"torch", "transformers", "accelerate"} & sys.modules.keys()

corpus, place = map(Path, sys.argv[1:])
for name in ("first", "again"):
    fit_tfidf(corpus, TfidfConfig(), place / name)
    print(torch_free())
from llmclf_core.steps.evaluate import evaluate_and_track
evaluate_and_track(place / "first", corpus, EvaluateConfig(bootstrap=100), place / "e")
print(torch_free())
"""


@pytest.mark.parametrize("tracked", [False, True])
def test_fitting_and_evaluating_do_not_import_torch(corpus_path, tmp_path, tracked):
    """Its memory, several times that of the fit, would be reported as the approach's."""
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"} if tracked else {}
    done = subprocess.run(
        [sys.executable, "-c", FIT_AND_EVALUATE, str(corpus_path), str(tmp_path)],
        env=os.environ | uri,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["True"] * 3, done.stderr


def test_loading_does_not_import_torch(corpus_path, tmp_path):
    fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    code = (
        "import sys; from pathlib import Path; from llmclf_core.approaches import load_classifier; "
        f"load_classifier(Path({str(tmp_path / 'c')!r})).predict(['match goal']); "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
