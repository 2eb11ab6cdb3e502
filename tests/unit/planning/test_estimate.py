"""Straight lines through rehearsals."""

from dataclasses import astuple, fields

import pytest

from llmclf_core.planning.estimate import Layers, Taken, extrapolate, rehearsed

SMALL, LARGE = 576, 4096


@pytest.mark.parametrize(
    ("layers", "hidden", "expected"),
    [
        ((0, 4), SMALL, [(0, 4)]),
        ((2, 6), SMALL, [(2, 6)]),
        ((0, 30), SMALL, [(0, 2), (0, 15)]),
        ((0, 32), LARGE, [(0, 2), (0, 6)]),
        ((24, 6), SMALL, [(2, 6), (12, 6)]),
        ((20, 12), LARGE, [(2, 2), (6, 2), (2, 6)]),
        ((31, 1), LARGE, [(2, 1), (6, 1)]),
    ],
)
def test_layers_of_rehearsals(layers, hidden, expected):
    assert rehearsed(Layers(*layers), hidden) == expected


@pytest.mark.parametrize("layers", [(0, 4), (0, 30), (24, 6), (20, 12), (3, 40)])
@pytest.mark.parametrize("hidden", [SMALL, LARGE])
def test_linear_figures_are_met_exactly(layers, hidden):
    def taken(at):
        return Taken(*(7 + i + (3 + i) * at.frozen + (5 + 2 * i) * at.trained for i in range(11)))

    whole = Layers(*layers)
    seen = {at: taken(at) for at in rehearsed(whole, hidden)}
    assert len(fields(Taken)) == 11
    assert astuple(extrapolate(seen, whole)) == pytest.approx(astuple(taken(whole)))


def test_peaks_are_taken_one_by_one():
    """Loading has the peak in the small model, training in the large one."""
    at = [Layers(0, 2), Layers(0, 6)]
    rest = (0.0,) * 7
    seen = {
        at[0]: Taken(1, 1, 90, 20, 0, 0, *rest[:5]),
        at[1]: Taken(1, 1, 94, 60, 0, 0, *rest[:5]),
    }
    assert extrapolate(seen, Layers(0, 30)).memory == 300
