"""Which rows predictions are of: whether they are the same, in which order, which are right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from llmclf_core.artifacts import Predictions


def mismatch(predictions: Predictions, reference: Predictions) -> str:
    """What makes them incomparable, as a clause about ``predictions``; empty when nothing does.

    The order of the rows may differ.
    """
    if predictions.labels != reference.labels:
        return _other_labels(predictions, reference)
    if predictions.corpus != reference.corpus:
        return f"it is of corpus {predictions.corpus}, not {reference.corpus}"
    mine, theirs = set(predictions.ids), set(reference.ids)
    if missing := [row for row in reference.ids if row not in mine]:
        return f"it lacks {len(missing)} of {len(reference.ids)} rows, first {missing[0]!r}"
    if extra := [row for row in predictions.ids if row not in theirs]:
        return f"it has {len(extra)} rows more, first {extra[0]!r}"
    same = (in_order(predictions, reference).truth == reference.truth).all(axis=1)
    if not same.all():
        row = reference.ids[int(same.argmin())]
        return f"its true labels differ in {int((~same).sum())} rows, first {row!r}"
    return ""


def _other_labels(predictions: Predictions, reference: Predictions) -> str:
    mine, theirs = predictions.labels, reference.labels
    if mine.task != theirs.task:
        return f"it is {mine.task}-label, not {theirs.task}-label"
    if missing := [name for name in theirs.names if name not in mine.names]:
        return f"it does not know {len(missing)} labels, first {missing[0]!r}"
    if extra := [name for name in mine.names if name not in theirs.names]:
        return f"it has {len(extra)} labels more, first {extra[0]!r}"
    return "its labels are in another order"


def in_order(predictions: Predictions, reference: Predictions) -> Predictions:
    """``predictions`` with the rows in the order of ``reference``, which has the same rows."""
    if predictions.ids == reference.ids:
        return predictions
    place = {row: i for i, row in enumerate(predictions.ids)}
    return _at(predictions, [place[row] for row in reference.ids])


def only(predictions: Predictions, ids: Iterable[str]) -> Predictions:
    """``predictions`` of the rows that are among ``ids``, in their own order."""
    wanted = set(ids)
    return _at(predictions, [i for i, row in enumerate(predictions.ids) if row in wanted])


def _at(predictions: Predictions, places: list[int]) -> Predictions:
    order = np.array(places, np.intp)
    return replace(
        predictions,
        ids=[predictions.ids[i] for i in places],
        truth=predictions.truth[order],
        logits=predictions.logits[order],
        probabilities=predictions.probabilities[order],
        predicted=predictions.predicted[order],
    )


def right_rows(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Whether each row is wholly right, shape (n,)."""
    right: npt.NDArray[np.bool_] = (predictions.truth == predictions.predicted).all(axis=1)
    return right
