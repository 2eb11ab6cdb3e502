"""The division into train, validation and test: given ones respected, missing ones cut off train.

Stratified by label; rows of one group move together; decided by the seed alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
from scipy import sparse
from sklearn.model_selection import train_test_split

from llmclf_core.artifacts import SPLITS, TEST, TRAIN, VALIDATION
from llmclf_core.config import SplitConfig
from llmclf_core.corpus.fields import UNASSIGNED
from llmclf_core.corpus.rows import Positions, Rows
from llmclf_core.errors import UserError

Codes = npt.NDArray[np.int8]

_CODE = {name: np.int8(code) for code, name in enumerate(SPLITS)}


def assign(rows: Rows, config: SplitConfig, multi: bool) -> list[str]:
    """Give every row a split, in place.

    Args:
        rows: those without a split are divided; a split that the source lacks is cut off train.
        config: shares, seed and group.
        multi: whether rows may have several labels.

    Returns:
        The splits that were cut here (none, when the source gives them all).

    Raises:
        UserError: when the source gives splits but no train, or its splits tear a group.
    """
    given = {SPLITS[code] for code in np.unique(rows.splits) if code != UNASSIGNED}
    if given and TRAIN not in given:
        raise UserError(f"the source has {', '.join(sorted(given))} but no train split")
    _refuse_torn_groups(rows)
    rows.splits[rows.splits == UNASSIGNED] = _CODE[TRAIN]
    shares = {TEST: config.test, VALIDATION: config.validation}
    cut = [name for name, share in shares.items() if share > 0 and name not in given]
    units = Units(rows, multi)
    left = 1.0
    for name in cut:
        units.cut(_CODE[name], shares[name] / left, config.seed)
        left -= shares[name]
    units.cover(cut, config.seed)
    return cut


def _refuse_torn_groups(rows: Rows) -> None:
    if len(rows.groups) == 0:
        return
    order = np.lexsort((rows.splits, rows.groups))
    torn = (np.diff(rows.groups[order]) == 0) & (np.diff(rows.splits[order]) != 0)
    if torn.any():
        i = int(torn.argmax())
        raise UserError(
            f"{rows.where(order[i])} and {rows.where(order[i + 1])} are of one group but in "
            "different splits; mend the splits, or unset `split.group`"
        )


class Units:
    """What is divided: single rows, or groups of them that stay together."""

    def __init__(self, rows: Rows, multi: bool) -> None:
        self._rows, self._multi = rows, multi
        self._grouped = len(rows.groups) > 0
        n = len(rows)
        if self._grouped:
            _, first, of_rows = np.unique(rows.groups, return_index=True, return_inverse=True)
            # Numbered by first appearance: the order of hashes means nothing.
            rank = np.argsort(np.argsort(first))
            self._of_rows, self._first = rank[of_rows], np.sort(first)
            member = sparse.csr_array(
                (np.ones(n, np.int32), (self._of_rows, np.arange(n))), (len(first), n)
            )
            self._labels = sparse.csr_array(member @ rows.labels.astype(np.int32)).sign()
            self._sizes = np.bincount(self._of_rows)
        else:
            self._of_rows = self._first = np.arange(n)
            self._labels, self._sizes = rows.labels, np.ones(n, np.int64)

    @property
    def _splits(self) -> Codes:
        return self._rows.splits[self._first]

    def _move(self, units: npt.NDArray[np.int64], code: np.int8) -> None:
        moved = np.zeros(len(self._sizes), bool)
        moved[units] = True
        self._rows.splits[moved[self._of_rows]] = code

    def cut(self, code: np.int8, share: float, seed: int) -> None:
        """Move ``share`` of the train units to split ``code``, stratified."""
        train = np.flatnonzero(self._splits == _CODE[TRAIN])
        choose = self._choose_many if self._multi or self._grouped else self._choose_one
        self._move(choose(train, share, seed), code)

    def _choose_one(self, train: Positions, share: float, seed: int) -> Positions:
        """By the one label of each row (scikit-learn)."""
        labels = self._labels[train].indices
        counts = np.bincount(labels)
        # scikit-learn wants two rows of each class; a single one stays in train.
        pool = train[counts[labels] >= 2]
        classes = int((counts >= 2).sum())
        if classes == 0:
            return train[:0]
        size = int(np.clip(round(share * len(train)), classes, len(pool) - classes))
        _, chosen = train_test_split(
            pool, test_size=size, stratify=self._labels[pool].indices, random_state=seed
        )
        return np.asarray(chosen, np.int64)

    def _choose_many(self, train: Positions, share: float, seed: int) -> Positions:
        """By all labels of each unit and by its size (iterative stratification)."""
        if len(train) < 2:
            raise UserError(f"{len(train)} group is left to train on and to split; use more groups")
        sizes = np.log2(self._sizes[train]).astype(int)
        of_size = np.eye(sizes.max() + 1, dtype=np.int8)[sizes]
        strata = np.hstack([self._labels[train].toarray(), of_size])
        splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
        _, chosen = next(splitter.split(np.zeros(len(train)), strata))
        chosen_units: Positions = train[np.sort(chosen)]
        return chosen_units

    def cover(self, cut: list[str], seed: int) -> None:
        """Move single units so that the splits cut here have every label that has enough units.

        Train comes first: it gets a unit of every label, and never gives its last one away.
        """
        rng = np.random.default_rng(seed)
        donors = [_CODE[name] for name in cut]
        for name in [TRAIN, *cut] if cut else []:
            sources = donors if name == TRAIN else [_CODE[TRAIN]]
            for label in np.flatnonzero(self._counts(_CODE[name]) == 0).tolist():
                self._fetch(label, _CODE[name], sources, rng)

    def _fetch(
        self, label: int, code: np.int8, sources: list[np.int8], rng: np.random.Generator
    ) -> None:
        """Move one unit with ``label`` from ``sources`` to ``code``, where one can be spared."""
        if self._counts(code)[label]:
            return  # an earlier move brought it along
        in_train = self._counts(_CODE[TRAIN])
        for unit in self._candidates(label, sources, rng):
            spared = (in_train[self._labels[[unit]].indices] >= 2).all()
            if code == _CODE[TRAIN] or spared:
                self._move(np.asarray([unit]), code)
                return

    def _counts(self, code: np.int8) -> npt.NDArray[np.int64]:
        """Units of each label in a split, shape (n_labels,)."""
        counts: npt.NDArray[np.int64] = self._labels[self._splits == code].sum(
            axis=0, dtype=np.int64
        )
        return counts

    def _candidates(
        self, label: int, sources: list[np.int8], rng: np.random.Generator
    ) -> Positions:
        has_label = self._labels[:, [label]].toarray().ravel() > 0
        units: Positions = np.flatnonzero(has_label & np.isin(self._splits, sources))
        order = np.lexsort((rng.random(len(units)), self._sizes[units]))
        return units[order][:100]
