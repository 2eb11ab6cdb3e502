"""The comparison's page: whole, safe, self-contained, and readable in every case."""

import re
from dataclasses import replace

import pytest

from llmclf_core.config import CompareConfig
from llmclf_core.evaluation.compare import compare
from llmclf_core.evaluation.names import duration, listed, percent, title
from llmclf_core.evaluation.note import note
from llmclf_core.evaluation.overview import MAX_CURVES, cost_plot, pairs_of
from llmclf_core.evaluation.pages import render_comparison
from llmclf_core.failures import Failure

from .simulated import TAGS, corpus_of, trial, trials
from .test_report import HOSTILE, Page

CONFIG = CompareConfig(bootstrap=200)


@pytest.fixture(scope="module")
def news():
    return corpus_of(rows=200)


@pytest.fixture(scope="module")
def evaluations(news):
    return trials(news, seeds=(0, 1))


@pytest.fixture(scope="module")
def comparison(evaluations):
    return compare(evaluations, [], CONFIG)


@pytest.fixture(scope="module")
def text(comparison, evaluations, news):
    return render_comparison(comparison, evaluations, news)


def test_answer_and_figures_are_there(text, comparison):
    page = Page(text).text
    assert comparison.answer in page
    for a in comparison.approaches:
        spread = a.metrics["macro_f1"]
        assert f"{spread.mean:.3f}" in page
        assert f"{a.interval[0]:.3f} – {a.interval[1]:.3f}" in page
        assert duration(a.seconds) in page
        for f1 in a.label_f1:
            assert f"{f1:.3f}" in page
    for pair in comparison.pairs:
        assert f"{abs(pair.difference):+.3f}" in page
    assert "slightly optimistic" in page


def test_every_plot_is_described_once(text):
    labels = [attrs["aria-label"] for attrs in Page(text).all("svg")]
    assert len(labels) == 1 + 5 * (2 + 1 + 5)
    assert len(set(labels)) == len(labels)
    (cost,) = [label for label in labels if label.startswith("Macro F1 against cost")]
    assert "TF-IDF 0." in cost
    assert "On the Pareto front: " in cost


def test_page_loads_nothing_and_runs_nothing(text):
    assert "http" not in text
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "img", "object"}
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert all(attrs["href"].startswith("#") for attrs in page.all("a"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.all("a")} <= set(ids)
    assert not re.search("#0[123]0[123]0[123]", text)


def test_the_most_disputed_texts_are_shown(text, news):
    assert "The 20 most disputed texts" in text
    assert text.count("Should be <strong>") == 20


def test_without_a_corpus_texts_come_from_the_mistakes(comparison, evaluations):
    text = render_comparison(comparison, evaluations)
    assert text.count("Should be <strong>") == 20


def test_missing_ones_are_named_with_their_reasons(news):
    evaluations = trials(news, ("tfidf", "encoder"), seeds=(0,))
    missing = [
        Failure("encoder", 1, "finetune-encoder", "the process was killed"),
        Failure("head", 0, "finetune-head", "the loss is not finite"),
    ]
    page = Page(render_comparison(compare(evaluations, missing, CONFIG), evaluations)).text
    assert "The LLM with a head failed; the encoder lost some seeds." in page
    assert "LLM with head , seed 0, finetune-head: the loss is not finite" in page
    assert "Of the approaches that finished, use" in page


def test_one_approach_alone(news):
    evaluations = [trial(news, "head", 0)]
    comparison = compare(evaluations, [], CONFIG)
    page = Page(render_comparison(comparison, evaluations))
    assert "there is nothing to compare it with" in page.text
    assert cost_plot(comparison) is None
    assert "Where they disagree" not in page.text
    assert {a["href"] for a in page.all("a")}.isdisjoint({"#pairs", "#disagreement"})


def test_unknown_costs_are_left_out(news):
    evaluations = [replace(e, cost={}) for e in trials(news, ("tfidf", "head"))]
    page = Page(render_comparison(compare(evaluations, [], CONFIG), evaluations)).text
    assert "Texts/s" in page
    assert "Trained parameters" not in page
    assert "against cost" not in page


def test_multi_label_page():
    tags = corpus_of(TAGS, "multi", 150)
    evaluations = trials(tags, ("tfidf", "head"))
    page = Page(render_comparison(compare(evaluations, [], CONFIG), evaluations, tags))
    assert "McNemar" not in page.text
    assert "The most common confusions." not in page.text
    assert page.text.count("Confusions, label by label") == 2
    for evaluation in evaluations:
        truth, said = evaluation.predictions.truth, evaluation.predictions.predicted
        for i, name in enumerate(TAGS):
            t, p = truth[:, i] == 1, said[:, i] == 1
            counts = ((t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum())
            assert " ".join(map(str, (name, *counts))) in page.text
    assert f"The {MAX_CURVES} most common of 14 labels." in page.text
    assert "Micro F1" in page.text


def test_hostile_texts_labels_and_reasons_are_shown_not_run():
    names = ('<b onclick="x">', "$\\frac{", '"><script>', "_nul & co")
    corpus = corpus_of(names, rows=80)
    rows = corpus.splits["test"]
    texts = [HOSTILE.format(i) for i in range(80)]
    corpus.splits["test"] = rows.remove_columns("text").add_column("text", texts)
    evaluations = trials(corpus, ("tfidf", "encoder"))
    missing = [Failure("<i>new</i>", 0, "x", "<u>why</u>")]
    page = Page(render_comparison(compare(evaluations, missing, CONFIG), evaluations, corpus))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "u"}
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    for shown in (*names, "<u>why</u>", "<i>new</i>", "<script>alert("):
        assert shown in page.text


def test_pairs_are_turned_so_that_the_better_comes_first(comparison):
    pairs = pairs_of(comparison)
    assert len(pairs) == 10
    for pair in pairs:
        assert pair.difference >= 0
        assert pair.low <= pair.difference <= pair.high
        p = pair.figures
        first = pair.better == title(p.a)
        assert pair.difference == (p.difference if first else -p.difference)
        assert (pair.only_better, pair.only_other)[:: 1 if first else -1] == (p.only_a, p.only_b)
    assert [p.difference for p in pairs] == sorted([p.difference for p in pairs], reverse=True)


TRAINING = "learnt from the same training rows"


def test_training_rows_are_called_the_same_only_when_that_is_known(text, comparison, evaluations):
    assert TRAINING in text
    one_unknown = [replace(evaluations[0], trained_on=None), *evaluations[1:]]
    page = Page(render_comparison(comparison, one_unknown)).text
    assert TRAINING not in page
    assert "All approaches answered the same 200 test rows, checked by id." in page


@pytest.mark.parametrize(
    ("approaches", "missing", "line"),
    [
        (("tfidf", "probe", "head"), [], ""),
        (("tfidf", "head"), [], "The frozen probe was not part of this comparison; it needs"),
        (("probe", "head"), [], "TF-IDF was not part of this comparison; it needs"),
        (("head",), [], "TF-IDF and the frozen probe were not part of this comparison; they need"),
        (("tfidf", "head"), [Failure("probe", None, "fit-probe", "no memory")], ""),
    ],
)
def test_cheap_baselines_that_were_not_asked_for_are_named(news, approaches, missing, line):
    evaluations = trials(news, approaches)
    page = Page(render_comparison(compare(evaluations, missing, CONFIG), evaluations)).text
    assert line in page
    assert ("not part of this comparison" in page) == bool(line)


@pytest.mark.parametrize("level", [0.95, 0.975, 0.995, 0.999])
def test_levels_are_not_rounded(news, level):
    evaluations = trials(news, ("tfidf", "head"))
    config = CompareConfig(bootstrap=50, confidence=level, significance=1 - level)
    comparison = compare(evaluations, [], config)
    page = Page(render_comparison(comparison, evaluations)).text
    shown, other = f"{round(100 * level, 3):g} %", f"{round(100 - 100 * level, 3):g} %"
    assert page.count(f"{shown} interval") >= 2
    assert f"p-value at {other};" in page
    assert f"intervals of {shown}." in note(comparison)


@pytest.mark.parametrize(
    ("share", "decimals", "shown"),
    [
        (0.975, None, "97.5 %"),
        (0.995, None, "99.5 %"),
        (0.025, None, "2.5 %"),
        (0.07, None, "7 %"),
        (1 - 0.05, None, "95 %"),
        (1 - 0.001, None, "99.9 %"),
        (1.0, None, "100 %"),
        (0.95678, 1, "95.7 %"),
        (0.95, 1, "95.0 %"),
    ],
)
def test_percentages(share, decimals, shown):
    assert percent(share, decimals) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.44, "0.4 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (210, "3.5 min"),
        (4500, "1.2 h"),
        (360_000, "100 h"),
    ],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_lists_in_sentences():
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
