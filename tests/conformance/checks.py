"""What every classifier must do when asked, whatever the approach; saving is in saving_checks.py.

Checks know only :class:`Classifier` and the directory that it saves. Each takes a
:class:`Subject` and a scratch directory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from transformers import AutoTokenizer

from tests.conformance.factories import Subject
from tests.conftest import WORDS, sentence

Check = Callable[[Subject, Path], None]

BATCH_TOLERANCE = 1e-5


def some_texts(n: int = 23) -> list[str]:
    """Texts of 1 to 90 words, with an empty one among them."""
    random = np.random.default_rng(5)
    names = sorted(WORDS)
    lengths = random.integers(1, 90, n - 1)
    return [sentence(names[i % 3], random, int(w)) for i, w in enumerate(lengths)] + [""]


ODD_TEXTS = {
    "empty": "",
    "spaces": "   ",
    "line ends": "\n\r\n\t\n",
    "no-break spaces": "\u00a0\u2003\u200b",
    "nul": "match\0goal",
    "control characters": "\x07\x1b[31m\x7f",
    "emoji": "😀🏳️‍🌈🤖" * 5,
    "cjk": "漢字かな交じり文と한국어",
    "right to left": "\u202eשלום مرحبا",
    "combining": "e\u0301\u0300\u0302" * 40,
    "lone surrogate": "bank \ud800 share \udfff",
    "replacement": "\ufffd\ufffe",
    "one character": "a",
    "20,000 words": "market bank share profit " * 5000,
    "one word of 50,000 letters": "x" * 50_000,
}


def assert_answers(subject: Subject, texts: list[str]) -> np.ndarray:
    logits = subject.classifier.predict_logits(texts)
    assert logits.shape == (len(texts), len(subject.classifier.labels))
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    return logits


def check_has_learnt(subject: Subject, tmp: Path) -> None:
    """Otherwise the other checks could pass on a classifier that always says the same."""
    texts = [" ".join(words) for words in WORDS.values()] * 2
    answers = subject.classifier.predict(texts)
    assert [name in answer for name, answer in zip([*WORDS] * 2, answers, strict=True)] == [
        True
    ] * 6


def check_batch_size_does_not_matter(subject: Subject, tmp: Path) -> None:
    texts = some_texts()
    expected = subject.classifier.predict_logits(texts, batch_size=16)
    for size in (1, 2, 7, 64):
        found = subject.classifier.predict_logits(texts, batch_size=size)
        np.testing.assert_allclose(found, expected, rtol=0, atol=BATCH_TOLERANCE)


def check_order_does_not_matter(subject: Subject, tmp: Path) -> None:
    texts = some_texts()
    order = np.random.default_rng(0).permutation(len(texts))
    expected = subject.classifier.predict_logits(texts)
    found = subject.classifier.predict_logits([texts[i] for i in order])
    np.testing.assert_allclose(found, expected[order], rtol=0, atol=BATCH_TOLERANCE)


def check_other_rows_do_not_matter(subject: Subject, tmp: Path) -> None:
    texts = [*some_texts(9), *ODD_TEXTS.values()]
    together = subject.classifier.predict_logits(texts)
    for i, text in enumerate(texts):
        alone = subject.classifier.predict_logits([text])[0]
        np.testing.assert_allclose(alone, together[i], rtol=0, atol=BATCH_TOLERANCE)


def check_texts_matter(subject: Subject, tmp: Path) -> None:
    logits = subject.classifier.predict_logits([" ".join(words) for words in WORDS.values()])
    assert all(np.abs(logits[i] - logits[j]).max() > 1e-3 for i, j in ((0, 1), (1, 2), (0, 2)))


def check_odd_texts_are_answered(subject: Subject, tmp: Path) -> None:
    for name, text in ODD_TEXTS.items():
        logits = assert_answers(subject, [text])
        assert np.isfinite(logits).all(), name


def check_no_texts(subject: Subject, tmp: Path) -> None:
    assert_answers(subject, [])
    assert subject.classifier.predict_proba([]).shape == (0, len(subject.classifier.labels))
    assert subject.classifier.predict([]) == []


def check_input_is_not_changed(subject: Subject, tmp: Path) -> None:
    texts = some_texts()
    before = list(texts)
    subject.classifier.predict(texts)
    assert texts == before


def check_any_sequence_of_texts(subject: Subject, tmp: Path) -> None:
    texts = some_texts()
    expected = subject.classifier.predict_logits(texts)
    assert np.array_equal(subject.classifier.predict_logits(tuple(texts)), expected)


def check_probabilities(subject: Subject, tmp: Path) -> None:
    texts = [*some_texts(), *ODD_TEXTS.values()]
    classifier = subject.classifier
    probabilities = classifier.predict_proba(texts)
    assert probabilities.shape == (len(texts), len(classifier.labels))
    assert probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if classifier.labels.task == "single":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-6)


def check_predictions_follow_from_probabilities(subject: Subject, tmp: Path) -> None:
    classifier, texts = subject.classifier, some_texts()
    names = classifier.labels.names
    for row, predicted in zip(
        classifier.predict_proba(texts), classifier.predict(texts), strict=True
    ):
        if classifier.labels.task == "single":
            assert predicted == [names[int(row.argmax())]]
        else:
            thresholds = classifier.calibration.thresholds
            assert predicted == [
                n for n, p, t in zip(names, row, thresholds, strict=True) if p >= t
            ]


def check_same_answer_twice(subject: Subject, tmp: Path) -> None:
    texts = some_texts()
    first = subject.classifier.predict_logits(texts)
    assert np.array_equal(subject.classifier.predict_logits(texts), first)


def check_threads(subject: Subject, tmp: Path) -> None:
    """Eight threads at once answer as one after the other."""
    texts = some_texts(33)
    requests = [texts[i % 30 : i % 30 + 1 + i % 4] for i in range(40)]
    expected = [subject.classifier.predict_logits(r, batch_size=2) for r in requests]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda r: subject.classifier.predict_logits(r, batch_size=2), requests)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=BATCH_TOLERANCE)


def ids_fed(subject: Subject, text: str, vocabulary: int) -> list[int]:
    """Every token id that reaches a layer of token embeddings while a text is classified."""
    seen: list[int] = []
    forward = torch.nn.Embedding.forward

    def spy(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        if self.num_embeddings >= vocabulary:  # not those of positions and the like
            seen.extend(ids.flatten().tolist())
        return forward(self, ids)

    with mock.patch.object(torch.nn.Embedding, "forward", spy):
        subject.classifier.predict_logits([text])
    return seen


def check_special_tokens_in_a_text_are_plain_text(subject: Subject, tmp: Path) -> None:
    """A text cannot end its own turn: it feeds no more special tokens than any other."""
    saved = subject.path / "tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(saved) if saved.exists() else None
    special = set(tokenizer.all_special_ids) if tokenizer else set()
    size = len(tokenizer) if tokenizer else 0
    usual = sum(i in special for i in ids_fed(subject, "match goal", size))
    for token in tokenizer.all_special_tokens if tokenizer else ["<|im_end|>"]:
        assert_answers(subject, [token, f"match {token} goal", token * 100])
        for text in (token, f"match {token} goal", f"match goal{token}", token * 3):
            assert sum(i in special for i in ids_fed(subject, text, size)) == usual, text


CHECKS: list[Check] = [
    check_has_learnt,
    check_batch_size_does_not_matter,
    check_order_does_not_matter,
    check_other_rows_do_not_matter,
    check_texts_matter,
    check_odd_texts_are_answered,
    check_no_texts,
    check_input_is_not_changed,
    check_any_sequence_of_texts,
    check_probabilities,
    check_predictions_follow_from_probabilities,
    check_same_answer_twice,
    check_threads,
    check_special_tokens_in_a_text_are_plain_text,
]
