import numpy as np
import pytest

from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace

SPACE = LabelSpace(("a", "b", "c"), "multi")


def test_encode_and_decode_are_inverse():
    assert SPACE.encode(["c", "a", "c"]) == [0, 2]
    assert SPACE.decode([0, 2]) == ["a", "c"]


def test_indicators():
    np.testing.assert_array_equal(
        SPACE.indicators([[0, 2], [], [1]]), [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    )


def test_unknown_label_is_named():
    with pytest.raises(UserError, match=r"unknown label 'x'; the labels are a, b, c"):
        SPACE.encode(["a", "x"])


@pytest.mark.parametrize("names", [(), ("a",)])
def test_fewer_than_two_labels(names):
    with pytest.raises(UserError, match="at least two labels"):
        LabelSpace(names, "single")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "")])
def test_names_are_distinct_and_not_empty(names):
    with pytest.raises(UserError, match="distinct and not empty"):
        LabelSpace(names, "single")


def test_json_round_trip():
    assert LabelSpace.from_json(SPACE.to_json()) == SPACE
