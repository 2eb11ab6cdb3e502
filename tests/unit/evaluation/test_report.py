"""The HTML page: whole, safe, self-contained."""

import re
from html.parser import HTMLParser

import datasets
import numpy as np
import pytest

from llmclf_core.artifacts import Predictions
from llmclf_core.config import EvaluateConfig
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.evaluation.mistakes import MAX_EXCERPT, MAX_MISTAKES, worst_mistakes
from llmclf_core.evaluation.report import MAX_CURVES, answer, render

from .conftest import TableClassifier, build, space

CONFIG = EvaluateConfig(bootstrap=50)
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects elements and checks that they nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.said = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def result_of(task, **kwargs):
    corpus, classifier = build(task, **kwargs)
    return evaluate_classifier(classifier, corpus, CONFIG)


def test_page_has_the_answer_and_every_figure(judged):
    result = evaluate_classifier(judged[1], judged[0], CONFIG)
    page = Page(render(result))
    assert answer(result) in page.text
    assert f"{100 * result.metrics['accuracy']:.1f} % of 60 test texts" in page.text
    assert "(95 % interval " in page.text
    for name in ("macro_f1", "weighted_recall", "log_loss", "uncalibrated_brier", "hamming_loss"):
        assert f"{result.metrics[name]:.4f}" in page.text
    low, high = result.intervals["micro_f1"]
    assert f"{low:.4f} – {high:.4f}" in page.text
    for row in result.per_label:
        assert f"{row['precision']:.3f}" in page.text


def test_every_plot_is_drawn_and_described(judged):
    page = Page(render(evaluate_classifier(judged[1], judged[0], CONFIG)))
    images = page.all("svg")
    assert len(images) == 2 + 1 + 4
    assert all(i["role"] == "img" and i["aria-label"] and "viewbox" in i for i in images)
    assert len({i["aria-label"] for i in images}) == len(images)
    assert len(page.all("path")) > 30
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_page_loads_nothing_and_runs_nothing(judged):
    text = render(evaluate_classifier(judged[1], judged[0], CONFIG))
    assert "http" not in text
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "img", "object"}
    targets = re.findall(r"url\(([^)]*)\)", text)
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r'\ssrc="|@import', text)


def test_colours_follow_the_page(judged):
    text = render(evaluate_classifier(judged[1], judged[0], CONFIG))
    assert not re.search("#0[123]0[123]0[123]", text)
    assert "currentColor" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)> & $x_1$ \u202e {}'


def test_hostile_texts_labels_and_reports_are_shown_not_run(task):
    corpus, _ = build(task)
    names = ('<b onclick="x">', "$\\frac{", '"><script>', "_nul & co")
    texts = [HOSTILE.format(i) for i in range(60)]
    rows = corpus.splits["test"].remove_columns("text").add_column("text", texts)
    corpus.splits["test"] = rows
    corpus.labels = type(corpus.labels)(names, task)
    corpus.report = {"<i>key</i>": ["<u>x</u>"], "source": {"file": "<a href=y>"}}
    wrong = {t: np.random.default_rng(i).normal(size=4).tolist() for i, t in enumerate(texts)}
    result = evaluate_classifier(TableClassifier(corpus.labels, wrong), corpus, CONFIG)
    text = render(result)
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "b", "u", "a"}
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    for shown in (*names, "<i>key</i>", "<u>x</u>", "<a href=y>", "<script>alert("):
        assert shown in page.text
    assert any(names[2] in attrs.get("aria-label", "") for _, attrs in page.elements)


def test_excerpts_are_cut():
    result = result_of("single", text="word {} " + "x" * 5000)
    assert result.mistakes
    assert all(len(m["excerpt"]) == MAX_EXCERPT for m in result.mistakes)
    assert all(m["excerpt"].endswith("…") for m in result.mistakes)
    spaces = result_of("single", text="a" + " " * 5000 + "b{}")
    assert spaces.mistakes[0]["excerpt"] == "a…"


def predictions(task, probabilities, truth, predicted):
    probabilities = np.asarray(probabilities, np.float32)
    n = len(probabilities)
    rows = datasets.Dataset.from_dict(
        {"id": [str(i) for i in range(n)], "text": [f"text  {i}" for i in range(n)]}
    )
    arrays = (np.asarray(a, np.int8) for a in (truth, predicted))
    t, p = arrays
    labels = space(task, probabilities.shape[1])
    return Predictions(rows["id"][:], t, probabilities, probabilities, p, labels, "c", "m"), rows


def test_worst_single_label_rows_are_sorted_by_the_wrong_answer():
    said, rows = predictions(
        "single",
        [[0.6, 0.4], [0.9, 0.1], [0.99, 0.01]],
        [[0, 1], [0, 1], [1, 0]],
        [[1, 0]] * 3,
    )
    found = worst_mistakes(said, rows)
    assert [(m["id"], m["excerpt"]) for m in found] == [("1", "text 1"), ("0", "text 0")]
    assert found[0]["confidence"] == pytest.approx(0.9)
    assert (found[0]["truth"], found[0]["predicted"]) == (["label 1"], ["label 0"])


def test_worst_multi_label_rows_count_what_was_missed():
    said, rows = predictions(
        "multi",
        [[0.05, 0.2], [0.7, 0.99]],
        [[1, 0], [0, 1]],
        [[0, 0], [1, 1]],
    )
    found = worst_mistakes(said, rows)
    assert [m["id"] for m in found] == ["0", "1"]
    assert [m["confidence"] for m in found] == pytest.approx([0.95, 0.7])
    assert found[0]["predicted"] == []


def test_multi_label_mistakes_tell_given_from_missed():
    result = result_of("multi", rows=300)
    mistake = next(
        m for m in result.mistakes if set(m["truth"]) & set(m["predicted"]) < set(m["truth"])
    )
    missed = [name for name in mistake["truth"] if name not in mistake["predicted"]]
    page = Page(render(result)).text
    assert f"Missed {', '.join(missed)}" in page
    assert mistake["excerpt"] in page


def test_no_more_than_the_limit():
    result = result_of("multi", rows=300)
    assert len(result.mistakes) == MAX_MISTAKES
    confidences = [m["confidence"] for m in result.mistakes]
    assert confidences == sorted(confidences, reverse=True)


def test_nothing_wrong_and_no_label_at_all():
    corpus, classifier = build("multi", rows=5)
    empty = [[] for _ in range(5)]
    rows = corpus.splits["test"].remove_columns("labels")
    corpus.splits["test"] = rows.add_column("labels", empty)
    corpus.report = {}
    nothing = {text: [-5.0] * 4 for text in classifier.table}
    result = evaluate_classifier(TableClassifier(corpus.labels, nothing), corpus, CONFIG)
    text = Page(render(result)).text
    assert result.micro_curve is None
    assert "No test text was wrong." in text
    assert "No test text has a label" in text
    assert "no data report" in text


def test_perfect_single_label_page():
    corpus, _ = build("single", rows=8)
    labels = [row[0] for row in corpus.splits["test"]["labels"]]
    texts = corpus.splits["test"]["text"]
    table = {t: (9.0 * np.eye(4)[i]).tolist() for t, i in zip(texts, labels, strict=True)}
    result = evaluate_classifier(TableClassifier(corpus.labels, table), corpus, CONFIG)
    assert "No test text was confused." in Page(render(result)).text


def test_many_labels_show_the_commonest():
    result = result_of("single", rows=400, n_labels=30)
    page = Page(render(result))
    assert len(page.all("svg")) == 2 + 1 + MAX_CURVES
    assert f"The {MAX_CURVES} most common of 30 labels." in page.text
    assert not any("matrix" in attrs.get("class", "") for attrs in page.all("table"))
    assert "The most common confusions." in page.text


def test_any_data_report_is_shown():
    result = result_of("single")
    result.corpus_report = {
        "rows_per_split": {"train": 12345, "test": 60},
        "share": 0.123456,
        "near": True,
        "missing": None,
        "empty": {},
        "none": [],
        "warnings": [f"warning {i}" for i in range(60)],
        "nested": [{"label": "a", "rows": 3}],
    }
    text = Page(render(result)).text
    for shown in ("rows per split", "12,345", "0.1235", "yes", "warning 49", "… and 10 more"):
        assert shown in text
    assert "warning 50" not in text
