"""Leakage across splits is found, removed from the less protected split, and reported."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from llmclf_core.artifacts import SPLITS
from llmclf_core.config import DuplicateConfig
from llmclf_core.corpus.duplicates import add_near, find_exact
from llmclf_core.corpus.minhash import (
    Signatures,
    bands,
    detection,
    shingle_hashes,
    split_words,
    text_hashes,
)
from tests.unit.corpus.conftest import sentence, table

PART = {"column": "part"}


def _corpus(run, *extra, **settings):
    """Thirty rows in each split, and the extra ones (id, text, label, split)."""
    rows = [row | {"part": SPLITS[i % 3], "label": "ab"[i % 2]} for i, row in enumerate(table(90))]
    rows += [dict(zip(("id", "text", "label", "part"), row, strict=True)) for row in extra]
    return run(rows, id="id", split=PART, **settings)


def _changed(text: str, words: int) -> str:
    """The text with some words replaced, far apart."""
    parts = text.split()
    for i in range(words):
        parts[(2 * i + 1) * len(parts) // (2 * words)] = f"changed{i}"
    return " ".join(parts)


LONG = [sentence(("long", i), 200) for i in range(4)]


def test_white_space_does_not_hide_an_exact_duplicate(run):
    text = sentence("same")
    spaced = "  " + text.replace(" ", "\u00a0\n\t")
    corpus = _corpus(run, ("x", text, "a", "test"), ("y", spaced, "a", "train"))
    assert "y" not in corpus.splits["train"]["id"]
    assert "x" in corpus.splits["test"]["id"]
    assert corpus.report["duplicates"]["removed"] == [
        {
            "kind": "exact",
            "removed_from": "train",
            "kept_in": "test",
            "rows": 1,
            "examples": [["y", "x"]],
        }
    ]
    assert corpus.report["rows"] == {"read": 92, "kept": 91, "dropped": {"exact_duplicate": 1}}


def test_test_is_kept_over_validation_over_train(run):
    corpus = _corpus(
        run,
        ("a1", LONG[0], "a", "train"),
        ("a2", LONG[0], "a", "validation"),
        ("a3", LONG[0], "a", "test"),
        ("b1", LONG[1], "a", "train"),
        ("b2", LONG[1], "a", "validation"),
        ("c1", LONG[2], "a", "train"),
        ("c2", _changed(LONG[2], 3), "a", "validation"),
    )
    kept = {i for data in corpus.splits.values() for i in data["id"] if i[0] != "r"}
    assert kept == {"a3", "b2", "c2"}
    found = {
        (r["kind"], r["removed_from"], r["kept_in"]): r["examples"]
        for r in corpus.report["duplicates"]["removed"]
    }
    assert found == {
        ("exact", "train", "test"): [["a1", "a3"]],
        ("exact", "validation", "test"): [["a2", "a3"]],
        ("exact", "train", "validation"): [["b1", "b2"]],
        ("near", "train", "validation"): [["c1", "c2"]],
    }


def test_duplicates_within_a_split_are_counted_and_kept(run):
    corpus = _corpus(
        run,
        ("x", LONG[0], "a", "train"),
        ("y", LONG[0], "a", "train"),
        ("z", _changed(LONG[0], 2), "a", "train"),
    )
    assert {"x", "y", "z"} < set(corpus.splits["train"]["id"])
    assert corpus.report["duplicates"]["within_a_split"] == {
        "exact": {"train": 1, "validation": 0, "test": 0},
        "near": {"train": 1, "validation": 0, "test": 0},
    }
    assert corpus.report["duplicates"]["removed"] == []


def test_copies_of_a_near_duplicate_are_all_removed(run):
    corpus = _corpus(
        run,
        ("x", LONG[0], "a", "train"),
        ("y", LONG[0], "a", "train"),
        ("z", _changed(LONG[0], 2), "a", "test"),
    )
    assert not {"x", "y"} & set(corpus.splits["train"]["id"])
    assert corpus.report["rows"]["dropped"] == {"near_duplicate": 2}


def test_a_removed_row_takes_no_other_with_it(run):
    """Test, validation and train: each like the next, the first not like the last."""
    middle = _changed(LONG[0], 6)
    parts = middle.split()
    last = " ".join(f"last{i}" if i % 33 == 5 else word for i, word in enumerate(parts))
    corpus = _corpus(
        run,
        ("x", LONG[0], "a", "test"),
        ("y", middle, "a", "validation"),
        ("z", last, "a", "train"),
    )
    assert "y" not in corpus.splits["validation"]["id"]
    assert "z" in corpus.splits["train"]["id"]


def test_conflicting_labels_are_reported(run):
    corpus = _corpus(
        run,
        ("x", LONG[0], "a", "train"),
        ("y", LONG[0], "b", "train"),
        ("v", LONG[1], "a", "test"),
        ("w", _changed(LONG[1], 2), "b", "train"),
    )
    conflicts = corpus.report["duplicates"]["conflicting_labels"]
    assert conflicts == {"pairs": 2, "examples": [["x", "y"], ["v", "w"]]}
    assert "2 pairs of like texts have different labels" in corpus.report["warnings"]


def test_near_duplicates_can_be_left_alone(run):
    extra = [("x", LONG[0], "a", "test"), ("y", _changed(LONG[0], 2), "a", "train")]
    corpus = _corpus(run, *extra, duplicates={"near": False})
    assert "y" in corpus.splits["train"]["id"]
    assert corpus.report["duplicates"]["near"] is None


def test_the_threshold_divides(run):
    # 200 words, 198 shingles; n far changes touch 3 n of them: Jaccard (198 - 3n) / (198 + 3n).
    extra = [("x", LONG[0], "a", "test"), ("y", _changed(LONG[0], 10), "a", "train")]
    jaccard = (198 - 30) / (198 + 30)
    below = _corpus(run, *extra, duplicates={"threshold": jaccard - 0.15})
    above = _corpus(run, *extra, duplicates={"threshold": jaccard + 0.15})
    assert "y" not in below.splits["train"]["id"]
    assert "y" in above.splits["train"]["id"]


def test_short_texts_are_compared_whole(run):
    extra = [("x", "good", "a", "test"), ("y", "Good", "a", "train"), ("z", "bad", "a", "train")]
    corpus = _corpus(run, *extra)
    assert "y" not in corpus.splits["train"]["id"]
    assert "z" in corpus.splits["train"]["id"]


def test_rows_that_are_split_here_are_cleaned_too(run):
    rows = [
        {"id": f"r{i}", "text": sentence(i // 2), "label": "ab"[i // 2 % 2]} for i in range(200)
    ]
    corpus = run(rows, id="id")
    texts = {split: set(corpus.splits[split]["text"]) for split in SPLITS}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert len(corpus.splits["test"]) == 40


def _shingles(text: str, length: int) -> set[tuple[str, ...]]:
    words = text.lower().split()
    if len(words) < length:
        return {tuple(words)} if words else set()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_shingle_hashes_tell_apart_exactly_the_different_shingles(length):
    rng = random.Random(length)
    texts = [" ".join(rng.choices("aBcdE", k=rng.randrange(9))) for _ in range(200)]
    words = split_words(pa.array(["pad", *texts], pa.large_string())).slice(1)
    hashes, offsets = shingle_hashes(words, length)
    meaning: dict[int, tuple[str, ...]] = {}
    for text, start, end in zip(texts, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        expected = _shingles(text, length) if text else {("",)}
        assert len(set(hashes[start:end].tolist())) == len(expected)
        ordered = [tuple(w) for w in _ordered(text, length)]
        for value, shingle in zip(hashes[start:end].tolist(), ordered, strict=True):
            assert meaning.setdefault(value, shingle) == shingle
    assert len(meaning) == len(set(meaning.values()))


def _ordered(text: str, length: int) -> list[list[str]]:
    words = text.lower().split() or [""]
    return [words[i : i + length] for i in range(max(1, len(words) - length + 1))]


def test_text_hashes_see_words_only():
    words = split_words(pa.array(["a b", " a\n\u2003b ", "a  c", "ab"], pa.large_string()))
    hashes = text_hashes(words)
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 3


def test_bands_propose_at_the_threshold_with_the_promised_probability():
    for threshold in (0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
        n, rows = bands(threshold, 128)
        assert n * rows <= 128
        assert detection(threshold, n, rows) >= 0.95
    assert bands(0.01, 16) == (16, 1)


def test_near_duplicates_are_found_as_brute_force_finds_them(tmp_path):
    """Pairs of every likeness, against exact Jaccard; the margin is four standard errors."""
    rng = random.Random(5)
    texts = []
    for i in range(300):
        text = sentence(("brute", i), 100)
        texts += [text, _changed(text, rng.randrange(1, 14))]
    config = DuplicateConfig(permutations=256)
    signatures = Signatures(config, tmp_path / "s.bin")
    words = split_words(pa.array(texts, pa.large_string()))
    signatures.add(words.slice(0, 100))
    signatures.add(words.slice(100, 0))
    signatures.add(words.slice(100))
    splits = np.asarray([0, 2] * 300, np.int8)
    labels = np.zeros(600, np.uint64)
    hashes = text_hashes(words)
    found = find_exact(hashes, splits, labels)
    add_near(found, hashes, splits, labels, *signatures.finish(), config.threshold)
    assert not found.removed[1::2].any()
    margin = 4 * (0.8 * 0.2 / 256) ** 0.5
    sure = 0
    for i in range(0, 600, 2):
        left, right = _shingles(texts[i], 3), _shingles(texts[i + 1], 3)
        jaccard = len(left & right) / len(left | right)
        if abs(jaccard - 0.8) > margin:
            sure += 1
            assert found.removed[i] == (jaccard > 0.8), jaccard
            assert found.kept_in_place_of[i] == (i + 1 if jaccard > 0.8 else -1)
    assert sure > 100


def test_a_bucket_of_thousands_takes_bounded_work(run):
    """Boilerplate: every text like every other one."""
    base = sentence("boilerplate", 100)
    extra = [(f"x{i}", base + f" end{i}", "a", "test" if i % 2 else "train") for i in range(3000)]
    corpus = _corpus(run, *extra)
    assert not [i for i in corpus.splits["train"]["id"] if i[0] == "x"]
    assert corpus.report["duplicates"]["within_a_split"]["near"]["test"] == 1499


@pytest.mark.parametrize("then", ["add", "finish"])
def test_signatures_that_cannot_be_written_are_told(tmp_path, then):
    signatures = Signatures(DuplicateConfig(), tmp_path / "s.bin")
    words = split_words(pa.array(["some text"], pa.large_string()))
    signatures._file.close()
    signatures.add(words)
    with pytest.raises(ValueError, match="closed file"):
        signatures.add(words) if then == "add" else signatures.finish()
    signatures.close()
