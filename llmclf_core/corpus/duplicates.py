"""Rows that say the same thing: found in all the corpus, removed where they cross splits.

Test rows are kept over validation rows, these over training rows, so that nothing that is measured
on has been trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llmclf_core.corpus.minhash import SignatureFile, UInt64s
from llmclf_core.progress import Ticker

Rows = npt.NDArray[np.int64]
Splits = npt.NDArray[np.int8]

_PARTNERS = 16
"""Rows of one bucket that each later row of it is compared with: bounds the work on boilerplate."""
_COMPARE = 1 << 14


@dataclass
class Duplicates:
    """What was found; all arrays hold row positions.

    Attributes:
        kept_in_place_of: for each row the row that is kept in its place, -1 for kept rows,
            shape (n,).
        near: whether a removal was for near (not exact) likeness, shape (n,).
        within: kind to the rows that repeat an earlier row of their own split.
        conflicts: pairs of like rows with different labels, shape (m, 2).
    """

    kept_in_place_of: Rows
    near: npt.NDArray[np.bool_]
    within: dict[str, Rows] = field(default_factory=dict)
    conflicts: Rows = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @property
    def removed(self) -> npt.NDArray[np.bool_]:
        """Which rows are to be left out, shape (n,)."""
        return self.kept_in_place_of >= 0


def find_exact(texts: UInt64s, splits: Splits, labels: UInt64s) -> Duplicates:
    """Rows of equal text.

    Args:
        texts: hash of each text, shape (n,).
        splits: split code of each row, higher is more protected, shape (n,).
        labels: hash of each row's label set, shape (n,).
    """
    # The most protected row of each text comes first, and is the one the others are held against.
    order = np.lexsort((np.arange(len(texts)), -splits, texts))
    is_first = np.ones(len(texts), bool)
    is_first[1:] = texts[order][1:] != texts[order][:-1]
    leaders = order[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
    found = Duplicates(np.full(len(texts), -1, np.int64), np.zeros(len(texts), bool))
    others, leaders = order[~is_first], leaders[~is_first]
    crosses = splits[others] < splits[leaders]
    found.kept_in_place_of[others[crosses]] = leaders[crosses]
    found.within["exact"] = _repeats(texts, splits)
    differs = labels[others] != labels[leaders]
    found.conflicts = np.stack([leaders[differs], others[differs]], axis=1)
    return found


def _repeats(texts: UInt64s, splits: Splits) -> Rows:
    order = np.lexsort((np.arange(len(texts)), splits, texts))
    same = (np.diff(texts[order]) == 0) & (np.diff(splits[order]) == 0)
    return np.sort(order[1:][same])


def add_near(
    found: Duplicates,
    texts: UInt64s,
    splits: Splits,
    labels: UInt64s,
    band_hashes: npt.NDArray[np.uint32],
    signatures: SignatureFile,
    threshold: float,
) -> None:
    """Add near duplicates to what :func:`find_exact` found.

    Args:
        found: extended in place.
        texts: as for :func:`find_exact`.
        splits: as for :func:`find_exact`.
        labels: as for :func:`find_exact`.
        band_hashes: shape (n, bands).
        signatures: the MinHash signatures of the same rows.
        threshold: share of equal signature slots (it estimates the Jaccard similarity) from which
            two texts are near duplicates.
    """
    kept = np.flatnonzero(~found.removed)
    _, first, copies = np.unique(texts[kept], return_index=True, return_inverse=True)
    leaders = kept[first]
    by_protection = leaders[np.lexsort((leaders, -splits[leaders]))]
    pairs = _near_pairs(by_protection, band_hashes, signatures, threshold)
    keep, drop = pairs[:, 0], pairs[:, 1]
    differs = labels[keep] != labels[drop]
    found.conflicts = np.concatenate([found.conflicts, pairs[differs]])
    own = splits[keep] == splits[drop]
    found.within["near"] = np.unique(drop[own])
    _remove(found, pairs[~own], splits)
    # Copies of a text within one split share the fate of the first of them.
    found.kept_in_place_of[kept] = found.kept_in_place_of[leaders][copies]
    found.near[kept] = found.removed[kept]


def _remove(found: Duplicates, pairs: Rows, splits: Splits) -> None:
    # From the most protected split down: a row that is itself removed takes no other with it.
    for split in np.unique(splits)[::-1]:
        for keep, drop in pairs[splits[pairs[:, 1]] == split].tolist():
            if found.kept_in_place_of[keep] < 0 and found.kept_in_place_of[drop] < 0:
                found.kept_in_place_of[drop] = keep


def _near_pairs(
    order: Rows,
    band_hashes: npt.NDArray[np.uint32],
    signatures: SignatureFile,
    threshold: float,
) -> Rows:
    """Pairs (more protected or earlier row, other row) of likeness >= threshold, shape (m, 2)."""
    n = len(band_hashes)
    confirmed = np.zeros(0, np.int64)
    with Ticker("comparing near duplicates", band_hashes.shape[1] * len(order)) as progress:
        for band in band_hashes.T:
            for keep, drop in _candidates(order, band):
                codes = np.setdiff1d(keep * n + drop, confirmed, assume_unique=True)
                like = _are_like(*np.divmod(codes, n), signatures, threshold)
                confirmed = np.union1d(confirmed, codes[like])
            progress.update(len(order))
    return np.stack(np.divmod(confirmed, n), axis=1)


def _candidates(order: Rows, band: npt.NDArray[np.uint32]) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows with equal band hash: every row with the first ones of its bucket."""
    by_hash = order[np.argsort(band[order], kind="stable")]
    opens = np.ones(len(order), bool)
    opens[1:] = band[by_hash][1:] != band[by_hash][:-1]
    start = np.maximum.accumulate(np.where(opens, np.arange(len(order)), 0))
    rank = np.arange(len(order)) - start
    for partner in range(_PARTNERS):
        later = np.flatnonzero(rank > partner)
        if len(later) == 0:
            return
        yield by_hash[start[later] + partner], by_hash[later]


def _are_like(
    left: Rows, right: Rows, signatures: SignatureFile, threshold: float
) -> npt.NDArray[np.bool_]:
    like = np.zeros(len(left), bool)
    for i in range(0, len(left), _COMPARE):
        part = slice(i, i + _COMPARE)
        equal = signatures.rows(left[part]) == signatures.rows(right[part])
        like[part] = equal.mean(axis=1) >= threshold
    return like
