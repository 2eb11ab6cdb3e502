"""The TF-IDF approach: weighted words and logistic regression. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer

from llmclf_core.approaches.base import Calibration, Classifier
from llmclf_core.config import TfidfConfig
from llmclf_core.errors import UserError
from llmclf_core.files import parse_json, write_json
from llmclf_core.labels import LabelSpace
from llmclf_core.paths import fingerprint
from llmclf_core.tokens.texts import clean_texts

VOCABULARY = "vocabulary.json"
WEIGHTS = "weights.safetensors"


def fit_vectorizer(texts: Sequence[str], config: TfidfConfig) -> TfidfVectorizer:
    """Fit vocabulary and inverse document frequencies.

    Raises:
        UserError: when no feature is in enough texts.
    """
    vectorizer = _vectorizer(config, min_df=config.min_rows, max_features=config.max_features)
    try:
        return vectorizer.fit(clean_texts(texts))
    except ValueError as error:
        raise UserError(
            f"tfidf.min_rows is {config.min_rows}, but no word is in as many of the {len(texts)} "
            f"training texts ({error}); lower it"
        ) from None


def rebuild_vectorizer(
    config: TfidfConfig, vocabulary: Sequence[str], idf: npt.NDArray[np.float64]
) -> TfidfVectorizer:
    """The vectorizer that :func:`fit_vectorizer` has made, from its features and their weights."""
    vectorizer = _vectorizer(config, vocabulary=list(vocabulary))
    vectorizer.idf_ = idf
    return vectorizer


def _vectorizer(config: TfidfConfig, **options: Any) -> TfidfVectorizer:
    return TfidfVectorizer(
        ngram_range=(1, config.max_ngram),
        lowercase=config.lowercase,
        sublinear_tf=config.sublinear,
        **options,
    )


class TfidfClassifier(Classifier):
    """Logistic regression on TF-IDF features.

    Attributes:
        config: what a feature is.
        vocabulary: the features, words or word sequences.
        idf: inverse document frequencies, float64, (features,).
        weight, bias: float32, (n_labels, features) and (n_labels,).
    """

    approach: ClassVar[str] = "tfidf"

    def __init__(
        self,
        labels: LabelSpace,
        config: TfidfConfig,
        vocabulary: Sequence[str],
        idf: npt.NDArray[np.float64],
        weight: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.config, self.vocabulary, self.idf = config, list(vocabulary), idf
        self.weight, self.bias = weight, bias
        self._vectorizer = rebuild_vectorizer(config, vocabulary, idf)

    def predict_logits(self, texts: Sequence[str], batch_size: int = 16) -> npt.NDArray[np.float32]:
        cleaned = clean_texts(texts)
        if not cleaned:
            return np.zeros((0, len(self.labels)), np.float32)
        return linear_logits(self._vectorizer.transform(cleaned), self.weight, self.bias)

    @property
    def fingerprint(self) -> str:
        digests = {n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in self._arrays().items()}
        return fingerprint(
            self._settings(),
            self.labels.to_json(),
            vars(self.calibration),
            self.vocabulary,
            digests,
        )

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays = {"idf": self.idf, "weight": self.weight, "bias": self.bias}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def _settings(self) -> dict[str, Any]:
        return {"tfidf": self.config.model_dump()}

    def _write(self, path: Path) -> dict[str, Any]:
        write_json(path / VOCABULARY, self.vocabulary)
        save_file(self._arrays(), path / WEIGHTS)
        return self._settings()

    @classmethod
    def _read(
        cls, path: Path, header: dict[str, Any], labels: LabelSpace, base: str | None
    ) -> TfidfClassifier:
        config = TfidfConfig(**header["tfidf"])
        return cls(
            labels, config, parse_json(path / VOCABULARY, "classifier"), **load_file(path / WEIGHTS)
        )


def linear_logits(
    x: Any, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Features (n, features), dense or sparse, to logits (n, n_labels), float32."""
    return np.asarray(x @ weight.T + bias, dtype=np.float32)
