"""The champion rule, case by case, and its sentence."""

import pytest

from llmclf_core.evaluation.choice import Candidate, choose

CASES = [
    # (score, seconds) of a, b, c; who is significantly worse than the best; champion; sentence
    ([(0.9, 10)], "", "a", "it reaches macro F1 0.900, and there is nothing to compare it with"),
    ([(0.9, 10), (0.8, 1)], "b", "a", "the highest; b (0.800) is significantly worse"),
    (
        [(0.9, 10), (0.89, 1)],
        "",
        "b",
        "a has the highest, 0.900, which is not significantly better",
    ),
    ([(0.9, 400), (0.89, 1)], "", "b", "takes 400 times as long (6.7 min against 1 s)"),
    ([(0.9, 10), (0.89, 1), (0.7, 0.1)], "c", "b", "it reaches macro F1 0.890"),
    ([(0.9, 1), (0.89, 10)], "", "a", "b is not significantly worse, but takes 10 times as long"),
    ([(0.9, 1), (0.89, 9), (0.88, 5)], "", "a", "but the cheapest of them takes 5 times as long"),
    ([(0.9, 14.9), (0.89, 10)], "", "a", "but not clearly cheaper"),
    ([(0.9, 15.1), (0.89, 10)], "", "b", "takes 1.5 times as long"),
    ([(0.91, 100), (0.89, 10), (0.9, 10.5)], "", "c", "it reaches macro F1 0.900"),
    ([(0.9, 10), (0.9, 10)], "", "a", "no less than any"),
    ([(0.9, 10), (0.9, 1)], "", "b", "it reaches macro F1 0.900"),
    ([(0.9, None), (0.89, 1)], "", "a", "the cost is not known, so the higher score decides"),
    ([(0.9, 1), (0.89, None)], "", "a", "the cost is not known"),
    ([(0.9, 10), (0.89, None), (0.88, 1)], "b", "c", "it reaches macro F1 0.880"),
    (
        [(0.9, 10), (0.8, 1), (0.85, 1)],
        "bc",
        "a",
        "all others (c comes next with 0.850) are significantly worse",
    ),
]


@pytest.mark.parametrize(("figures", "worse", "champion", "sentence"), CASES)
def test_rule(figures, worse, champion, sentence):
    candidates = [Candidate(n, *figure) for n, figure in zip("abc", figures, strict=False)]
    choice = choose(candidates, lambda i, best: "abc"[i] in worse, "macro_f1")
    assert candidates[choice.index].name == champion, choice.why
    assert sentence in choice.why


def test_the_order_given_decides_nothing_else():
    figures = {"a": (0.91, 100.0), "b": (0.89, 10.0), "c": (0.9, 10.5), "d": (0.5, 0.1)}
    for order in ("abcd", "dcba", "bdac"):
        candidates = [Candidate(n, *figures[n]) for n in order]
        choice = choose(candidates, lambda i, _, order=order: order[i] == "d", "macro_f1")
        assert order[choice.index] == "c"
