"""The comparison: figures against direct computation, refusals, champion, saving."""

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests

from llmclf_core.config import CompareConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.compare import compare
from llmclf_core.evaluation.comparison import Comparison
from llmclf_core.evaluation.counts import resampled_scores
from llmclf_core.evaluation.samerows import right_rows
from llmclf_core.evaluation.significance import combined_p, mcnemar_midp, paired_bootstrap
from llmclf_core.failures import Failure
from llmclf_core.labels import LabelSpace

from .simulated import TAGS, corpus_of, trial, trials

CONFIG = CompareConfig(bootstrap=400)
FAILED = Failure("instruct", 1, "finetune-instruct", "the disk is full")


@pytest.fixture(scope="module")
def news():
    return corpus_of(rows=300)


@pytest.fixture(scope="module")
def everything(news):
    return trials(news, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def compared(everything):
    return compare(everything, [FAILED], CONFIG)


def macro_f1(evaluation):
    p = evaluation.predictions
    return f1_score(p.truth, p.predicted, average="macro")


def pair_of(comparison, a, b):
    return next(p for p in comparison.pairs if (p.a, p.b) == (a, b))


def test_means_and_spreads_are_over_seeds(everything, compared):
    assert [a.approach for a in compared.approaches] == [
        *("tfidf", "probe", "encoder", "head", "instruct")
    ]
    mine = [e for e in everything if e.approach == "head"]
    head = compared["head"]
    scores = [macro_f1(e) for e in mine]
    spread = head.metrics["macro_f1"]
    assert (spread.mean, spread.low, spread.high, spread.deviation) == pytest.approx(
        (np.mean(scores), min(scores), max(scores), np.std(scores, ddof=1))
    )
    assert compared["tfidf"].metrics["macro_f1"].deviation is None
    assert (head.seeds, compared["tfidf"].seeds) == ([0, 1, 2], [None])
    assert head.interval[0] < spread.mean < head.interval[1]
    assert head.label_f1 == pytest.approx(
        np.mean([f1_score(*arrays(e), average=None) for e in mine], axis=0)
    )
    seconds = [e.cost["train_seconds"] + 100_000 * e.seconds / e.rows for e in mine]
    assert head.seconds == pytest.approx(np.mean(seconds))
    assert head.cost["train_seconds"] == pytest.approx(
        np.mean([e.cost["train_seconds"] for e in mine])
    )


def arrays(evaluation):
    return evaluation.predictions.truth, evaluation.predictions.predicted


def test_pairs_with_one_seed_are_the_single_tests(news):
    a, b = trial(news, "tfidf"), trial(news, "head", 0)
    pair = compare([b, a], [], CONFIG).pairs[0]
    expected = paired_bootstrap(
        *(a.predictions.truth, a.predictions.predicted, b.predictions.predicted),
        resamples=CONFIG.bootstrap,
    )
    assert (pair.difference, pair.low, pair.high, pair.p) == pytest.approx(tuple(expected))
    assert (pair.low, pair.high, pair.p) == (expected.low, expected.high, expected.p)
    right, other = right_rows(a.predictions), right_rows(b.predictions)
    assert pair.mcnemar_p == mcnemar_midp(right, other)
    assert (pair.only_a, pair.only_b) == ((right & ~other).sum(), (other & ~right).sum())
    assert (pair.adjusted_p, pair.adjusted_mcnemar_p) == (pair.p, pair.mcnemar_p)


def test_mcnemar_pairs_seeds_in_order_and_one_with_all(everything, compared):
    by = {
        name: [right_rows(e.predictions) for e in everything if e.approach == name]
        for name in ("tfidf", "encoder", "head")
    }
    in_order = [mcnemar_midp(x, y) for x, y in zip(by["encoder"], by["head"], strict=True)]
    assert pair_of(compared, "encoder", "head").mcnemar_p == combined_p(in_order)
    with_all = [mcnemar_midp(by["tfidf"][0], y) for y in by["head"]]
    pair = pair_of(compared, "tfidf", "head")
    assert pair.mcnemar_p == combined_p(with_all)
    assert pair.only_a == np.mean([(by["tfidf"][0] & ~y).sum() for y in by["head"]])


def test_both_kinds_of_p_are_adjusted_over_all_pairs(compared):
    assert len(compared.pairs) == 10
    for raw, adjusted in (("p", "adjusted_p"), ("mcnemar_p", "adjusted_mcnemar_p")):
        expected = multipletests([getattr(p, raw) for p in compared.pairs], method="holm")[1]
        assert [getattr(p, adjusted) for p in compared.pairs] == pytest.approx(list(expected))


def test_smallest_p_is_below_the_level_for_any_number_of_pairs(everything):
    strict = compare(everything, [], CompareConfig(bootstrap=50, significance=0.01))
    assert strict.resamples == 10_000
    assert strict.significantly_worse("probe", "head")


def test_multi_label_has_no_mcnemar():
    tags = corpus_of(TAGS, "multi", 200)
    comparison = compare(trials(tags, ("tfidf", "head")), [], CONFIG)
    assert (comparison.pairs[0].mcnemar_p, comparison.pairs[0].adjusted_mcnemar_p) == (None, None)
    assert comparison.pairs[0].only_b > 0


def test_a_and_a_do_not_differ(news):
    head = trial(news, "head", 0)
    comparison = compare([head, replace(head, approach="encoder")], [], CONFIG)
    (pair,) = comparison.pairs
    assert (pair.difference, pair.low, pair.high, pair.p, pair.mcnemar_p) == (0, 0, 0, 1, 1)
    assert not comparison.significantly_worse("head", "encoder")
    assert not comparison.significantly_worse("encoder", "head")


def test_significantly_worse_is_one_way(compared):
    assert compared.significantly_worse("probe", "head")
    assert not compared.significantly_worse("head", "probe")
    assert not compared.significantly_worse("head", "head")


def test_the_cheap_one_wins_among_equals_and_the_good_one_where_it_is_better(news):
    close = compare(trials(news, ("tfidf", "encoder")), [], CONFIG)
    assert close.champion == "tfidf"
    assert close.answer.startswith("Use TF-IDF: it reaches macro F1 0.")
    better = compare([trial(news, "tfidf"), trial(news, "head", 0, skill=7.0)], [], CONFIG)
    assert better.champion == "head"
    assert "TF-IDF (0.8" in better.answer
    assert better.answer.endswith("is significantly worse.")


def test_the_registered_trial_is_the_best_on_validation(everything, compared):
    mine = [e for e in everything if e.approach == "head"]
    best = max(mine, key=lambda e: e.validation["best_validation_macro_f1"])
    assert compared["head"].chosen == best.predictions.classifier
    assert compared["head"].chosen_seed == best.seed
    worst_on_test = min(mine, key=macro_f1)
    flagged = [
        replace(e, validation={"best_validation_micro_f1": float(e is worst_on_test)}) for e in mine
    ]
    assert compare(flagged, [], CONFIG).winner.chosen_seed == worst_on_test.seed


def test_missing_trials_are_kept_and_told(news):
    evaluations = trials(news, ("tfidf", "encoder"))
    comparison = compare(evaluations, [FAILED], CONFIG)
    assert comparison.missing == [FAILED]
    assert comparison.answer.startswith("Of the approaches that finished, use TF-IDF")
    assert compare(evaluations, [], CONFIG).answer.startswith("Use TF-IDF")


def test_nothing_at_all_names_every_failure():
    other = Failure("head", None, "tokenize", "no such file")
    with pytest.raises(UserError) as caught:
        compare([], [FAILED, other], CONFIG)
    assert "instruct (seed 1), finetune-instruct: the disk is full" in str(caught.value)
    assert "head, tokenize: no such file" in str(caught.value)


def changed(evaluation, **changes):
    return replace(evaluation, predictions=replace(evaluation.predictions, **changes))


def without(predictions, rows):
    keep = np.setdiff1d(np.arange(len(predictions.ids)), rows)
    arrays = ("truth", "logits", "probabilities", "predicted")
    return {name: getattr(predictions, name)[keep] for name in arrays} | {
        "ids": [predictions.ids[i] for i in keep]
    }


def test_other_row_order_changes_nothing(news):
    a, b = trial(news, "tfidf"), trial(news, "head", 0)
    order = np.random.default_rng(0).permutation(len(b.predictions.ids))
    arrays = ("truth", "logits", "probabilities", "predicted")
    shuffled = changed(
        b,
        ids=[b.predictions.ids[i] for i in order],
        **{name: getattr(b.predictions, name)[order] for name in arrays},
    )
    expected = compare([a, b], [], CONFIG).to_json()
    assert compare([a, shuffled], [], CONFIG).to_json() == expected


REFUSALS = [
    (lambda p: without(p, [4, 9]), r"it lacks 2 of 300 rows, first 'row-4'"),
    (lambda p: {"ids": [*p.ids[:-1], "new"]}, r"it lacks 1 of 300 rows, first 'row-299'"),
    (lambda p: {"truth": np.roll(p.truth, 1, axis=1)}, r"true labels differ in 300 rows.*'row-0'"),
    (lambda p: {"corpus": "other"}, r"it is of corpus other, not corpus-0"),
    (lambda p: {"labels": LabelSpace(p.labels.names, "multi")}, r"it is multi-label, not single"),
    (
        lambda p: {"labels": LabelSpace((*p.labels.names[1:], "x"), "single")},
        r"it does not know 1 labels, first 'business'",
    ),
    (lambda p: {"labels": LabelSpace((*p.labels.names, "x"), "single")}, r"1 labels more.*'x'"),
    (lambda p: {"labels": LabelSpace(p.labels.names[::-1], "single")}, r"in another order"),
]


@pytest.mark.parametrize(("change", "message"), REFUSALS)
def test_other_rows_are_refused_and_named(news, change, message):
    a, b = trial(news, "tfidf"), trial(news, "head", 2)
    other = changed(b, **change(b.predictions))
    with pytest.raises(
        UserError, match=rf"head \(seed 2\) cannot be compared with tfidf: .*{message}"
    ):
        compare([a, other], [], CONFIG)


def test_training_on_another_corpus_is_refused_and_what_is_not_known_is_not(news):
    a, b = trial(news, "tfidf"), trial(news, "head", 2)
    compare([replace(a, trained_on=None), b], [], CONFIG)
    message = r"head \(seed 2\) was trained on corpus old, but the comparison is on corpus corpus-0"
    with pytest.raises(UserError, match=message):
        compare([a, replace(b, trained_on="old")], [], CONFIG)
    with pytest.raises(UserError, match="tfidf was trained on corpus old"):
        compare([replace(a, trained_on="old"), b], [], CONFIG)


def test_interval_of_a_score_stays_within_0_and_1(news):
    """Two seeds, one perfect and one nearly so, whose stretched bootstrap goes beyond 1."""
    perfect = trial(news, "head", 0, skill=50.0)
    truth = perfect.predictions.truth
    wrong = np.where(np.arange(len(truth))[:, None] < 12, np.roll(truth, 1, axis=1), truth)
    near = changed(replace(perfect, seed=1), predicted=wrong)
    low, high = compare([perfect, near], [], CONFIG)["head"].interval
    assert 0.9 < low < 1
    assert high == 1


def test_many_resamples_take_little_memory():
    """Level 0.001 and ten pairs: a hundred thousand samples, of which only scores are kept."""
    truth = corpus_of(TAGS, "multi", 50)
    truth = truth.labels.indicators(truth.splits["test"]["labels"])
    tracemalloc.start()
    found = resampled_scores(truth, [truth] * 5, 100_000, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0]["macro_f1"].shape == (100_000,)
    assert peak < 150e6, peak


def test_more_rows_are_refused(news):
    a, b = trial(news, "tfidf"), trial(news, "head", 2)
    fewer = changed(a, **without(a.predictions, [7]))
    with pytest.raises(UserError, match=r"it has 1 rows more, first 'row-7'"):
        compare([fewer, b], [], CONFIG)


def test_the_same_trial_twice_is_refused(news):
    with pytest.raises(UserError, match=r"head \(seed 1\) is given twice"):
        compare([trial(news, "head", 1), trial(news, "head", 1)], [], CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "other"}, r"base model \(HuggingFaceTB.*, other\)"),
        ({"quantization": "nf4"}, r"quantization \(none, nf4\)"),
        ({"cost": {"trained_parameters": 5.0}}, "number of trained parameters"),
    ],
)
def test_other_settings_within_an_approach_are_refused(news, change, message):
    one, other = trial(news, "head", 0), replace(trial(news, "head", 1), **change)
    with pytest.raises(UserError, match=rf"head \(seed 0\) and head \(seed 1\) differ.*{message}"):
        compare([one, other], [], CONFIG)


def test_saved_and_loaded_comparison_is_the_same(compared, tmp_path):
    compared.save(tmp_path / "out", "<!doctype html>")
    loaded = Comparison.load(tmp_path / "out")
    assert loaded == compared
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"comparison.json", "report.html"}
    assert loaded.winner.approach == loaded.champion


def test_damaged_comparison_is_refused(compared, tmp_path):
    compared.save(tmp_path / "out")
    header = tmp_path / "out/comparison.json"
    data = json.loads(header.read_text("utf-8"))
    del data["champion"]
    header.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"lacks something.*champion"):
        Comparison.load(tmp_path / "out")
    with pytest.raises(UserError, match=r"comparison\.json is missing"):
        Comparison.load(tmp_path)


def test_unknown_cost_leaves_it_to_the_score(news):
    head = replace(trial(news, "head", 0), cost={})
    comparison = compare([trial(news, "tfidf"), head], [], CONFIG)
    assert comparison["head"].seconds is None
    assert comparison.champion == "head"


def test_a_large_comparison_is_quick():
    big = corpus_of(tuple(f"tag {i}" for i in range(30)), "multi", 4000)
    evaluations = trials(big, seeds=(0, 1, 2))
    started = time.perf_counter()
    compare(evaluations, [], CompareConfig(bootstrap=1000))
    assert time.perf_counter() - started < 30
