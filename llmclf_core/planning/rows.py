"""A few rows that stand for all: the longest, which take the most memory, and typical ones."""

from __future__ import annotations

import datasets
import numpy as np

from llmclf_core.artifacts import TRAIN, VALIDATION, Tokens
from llmclf_core.config import TrainingConfig
from llmclf_core.tokens.batching import PASS_ROWS, Rows
from llmclf_core.tokens.tokenize import row_lengths


def few_rows(tokens: Tokens, training: TrainingConfig) -> Tokens:
    """Tokens for a rehearsal.

    Batches hold rows of like length, the longest ones together: so one of them is as heavy as any
    in the training can be.

    Args:
        tokens: of the training.
        training: its ``batch_size`` and ``accumulation`` are read, as the rehearsal has them.
    """
    step = training.batch_size * training.accumulation
    heavy = -(-max(step, PASS_ROWS) // step) * step
    chosen = {
        TRAIN: _choose(tokens.splits[TRAIN], heavy, 2 * step),
        VALIDATION: _choose(tokens.splits[VALIDATION], PASS_ROWS, PASS_ROWS),
    }
    return Tokens(
        splits=chosen,
        labels=tokens.labels,
        recipe=tokens.recipe,
        corpus=tokens.corpus,
        fingerprint=f"few-{tokens.fingerprint}",
        statistics=tokens.statistics,
        tokenizer=tokens.tokenizer,
        prompt=tokens.prompt,
    )


def _choose(split: datasets.Dataset, longest: int, typical: int) -> datasets.Dataset:
    return split.select(_rows(row_lengths(split), longest, typical))


def _rows(lengths: Rows, longest: int, typical: int) -> Rows:
    """The longest rows, and evenly spaced ones among the others; or all rows."""
    order = np.argsort(lengths, kind="stable")
    if len(order) <= longest + typical:
        return order
    spread = np.linspace(0, len(order) - longest - 1, typical).astype(np.int64)
    return np.concatenate([order[-longest:], order[spread]])
