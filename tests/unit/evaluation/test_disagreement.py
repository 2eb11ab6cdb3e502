"""Who is right where, and the most disputed rows."""

import numpy as np

from llmclf_core.artifacts import Predictions
from llmclf_core.evaluation.disagreement import Pattern, disputed, patterns

from .conftest import space


def said(task, predicted, truth, sure=0.9):
    p, t = np.asarray(predicted, np.int8), np.asarray(truth, np.int8)
    probabilities = np.where(p == 1, np.broadcast_to(sure, p.shape), 0.05).astype(np.float32)
    ids = [f"r{i}" for i in range(len(p))]
    return Predictions(ids, t, probabilities, probabilities, p, space(task, p.shape[1]), "c", "m")


EYE = np.eye(3, dtype=int)


def test_patterns_count_rows_by_who_is_right():
    truth = EYE[[0, 0, 0, 1, 2]]
    a = said("single", EYE[[0, 0, 1, 1, 0]], truth)
    b = said("single", EYE[[0, 0, 2, 0, 2]], truth)
    found = patterns([a, b])
    assert found[0] == Pattern((True, True), 2)
    assert set(found) == {
        *(Pattern((True, True), 2), Pattern((False, False), 1)),
        *(Pattern((True, False), 1), Pattern((False, True), 1)),
    }


def test_most_disputed_first_then_the_surest():
    truth = EYE[[0, 0, 0, 0]]
    sure = np.array([[0.5], [0.9], [0.6], [0.99]])
    a = said("single", EYE[[0, 0, 0, 0]], truth, sure)
    b = said("single", EYE[[0, 1, 1, 0]], truth, sure)
    c = said("single", EYE[[0, 1, 2, 1]], truth, sure)
    found = disputed([a, b, c])
    # Row 0: all agree. Row 2: three answers. Rows 1 and 3: one against two, row 3 the surest.
    assert [row.id for row in found] == ["r2", "r3", "r1"]
    assert found[0].truth == ["label 0"]
    assert found[0].answers == [["label 0"], ["label 1"], ["label 2"]]
    assert [row.id for row in disputed([a, b, c], limit=1)] == ["r2"]


def test_multi_label_counts_every_decision():
    truth = [[1, 1, 0], [0, 0, 0]]
    a = said("multi", [[1, 1, 0], [0, 0, 0]], truth)
    b = said("multi", [[0, 0, 1], [0, 1, 0]], truth)
    found = disputed([a, b])
    assert [row.id for row in found] == ["r0", "r1"]
    assert (found[1].truth, found[1].answers) == ([], [[], ["label 1"]])
    assert disputed([a, a]) == []
