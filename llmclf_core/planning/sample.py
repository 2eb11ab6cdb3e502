"""Texts of a recipe's source that stand for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc

from llmclf_core.artifacts import TRAIN, VALIDATION, Corpus
from llmclf_core.config import IngestConfig
from llmclf_core.corpus.ingest import ingest

_SPREAD, _LONGEST = 1500, 500


@dataclass(frozen=True)
class Sample:
    """Some rows of a corpus.

    Attributes:
        corpus: where they lie, a :class:`Corpus`.
        total: rows in all, by split.
        read: rows of the sample, by split.
        typical: rows of the sample, its first, that stand for all; the others are the longest.
    """

    corpus: Path
    total: Mapping[str, int]
    read: Mapping[str, int]
    typical: Mapping[str, int]


def sample(config: IngestConfig, folder: Path) -> Sample:
    """Read the source as a run will, but for near duplicates, which take long to find.

    Args:
        config: the recipe's ``ingest`` section.
        folder: for the corpus and the sample.

    Raises:
        UserError: for what a run would refuse.
    """
    duplicates = config.duplicates.model_copy(update={"near": False})
    whole = ingest(config.model_copy(update={"duplicates": duplicates}), folder / "whole")
    whole.check_trainable(folder / "whole")
    chosen = {name: _choose(whole.splits[name]) for name in (TRAIN, VALIDATION)}
    splits = {name: split for name, (split, _) in chosen.items()}
    # Tokens are kept by the fingerprint, and those of the sample are not those of the corpus.
    Corpus(splits, whole.labels, f"sample-{whole.fingerprint}").save(folder / "sample")
    return Sample(
        folder / "sample",
        {name: len(whole.splits[name]) for name in chosen},
        {name: len(split) for name, split in splits.items()},
        {name: typical for name, (_, typical) in chosen.items()},
    )


def _choose(split: datasets.Dataset) -> tuple[datasets.Dataset, int]:
    n = len(split)
    if n <= _SPREAD + _LONGEST:
        return split, n
    lengths = pc.utf8_length(split.with_format("arrow")[:]["text"]).to_numpy()
    spread = np.linspace(0, n - 1, _SPREAD).astype(np.int64)
    longest = np.argsort(lengths, kind="stable")[-_LONGEST:]
    return split.select(np.concatenate([spread, longest])), _SPREAD
