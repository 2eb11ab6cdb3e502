"""Fewer training rows on purpose: a quick trial, or a point of a learning curve."""

from __future__ import annotations

import numpy as np

from llmclf_core.artifacts import SPLITS, TRAIN
from llmclf_core.config import SplitConfig
from llmclf_core.corpus.rows import Mask, Rows

_TRAIN = SPLITS.index(TRAIN)


def thin(rows: Rows, kept: Mask, config: SplitConfig) -> Mask:
    """Draw at most ``train_rows_per_label`` training rows of each label.

    Rows are taken in a random order of the seed's as long as one of their labels has too few, so a
    larger limit keeps all rows of a smaller one. A multi-label row may take another of its labels
    over the limit. Rows without a label count as a label of their own.

    Args:
        rows: with their splits assigned.
        kept: the rows that are left after deduplication, shape (n,).
        config: the limit and the seed.

    Returns:
        The rows that are left now, shape (n,).
    """
    limit = config.train_rows_per_label
    if limit is None:
        return kept
    training = np.flatnonzero(kept & (rows.splits == _TRAIN))
    order = np.random.default_rng(config.seed).permutation(training)
    n_labels = rows.labels.shape[1]
    counts = np.zeros(n_labels + 1, np.int64)
    thinned = kept.copy()
    for row in order:
        start, end = rows.labels.indptr[row : row + 2]
        labels = rows.labels.indices[start:end] if end > start else [n_labels]
        if (counts[labels] < limit).any():
            counts[labels] += 1
        else:
            thinned[row] = False
    return thinned
