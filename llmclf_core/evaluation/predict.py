"""A classifier's logits for many rows, in chunks and with progress."""

from __future__ import annotations

import datasets
import numpy as np
import numpy.typing as npt

from llmclf_core.approaches.base import Classifier
from llmclf_core.errors import UserError
from llmclf_core.progress import Ticker

BATCHES_PER_CHUNK = 8


def predict_rows(
    classifier: Classifier, rows: datasets.Dataset, batch_size: int
) -> npt.NDArray[np.float32]:
    """Logits of ``rows["text"]``, float32, shape (n_rows, n_labels).

    Raises:
        UserError: when a logit is not finite.
    """
    chunk = batch_size * BATCHES_PER_CHUNK
    parts = []
    with Ticker("predict", len(rows)) as ticker:
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            parts.append(classifier.predict_logits(part["text"], batch_size))
            _check_finite(parts[-1], part["id"])
            ticker.update(len(part["id"]))
    return np.concatenate(parts)


def _check_finite(logits: npt.NDArray[np.float32], ids: list[str]) -> None:
    broken = ~np.isfinite(logits).all(axis=1)
    if broken.any():
        raise UserError(
            f"the classifier gives no finite score for row {ids[int(broken.argmax())]!r}; its "
            "training diverged: train again with a lower learning rate"
        )
