"""Artifacts: what is saved is loaded; what cannot be read is refused with one sentence."""

import json
import os
import shutil

import datasets
import numpy as np
import pytest

from llmclf_core.artifacts import Corpus, Predictions, Tokens
from llmclf_core.errors import UserError
from llmclf_core.files import SCHEMA_VERSION, load_split, read_json, save_split, stamp, write_json
from llmclf_core.labels import LabelSpace
from tests.conftest import make_corpus

ROWS = {"id": ["a", "b"], "input_ids": [[1, 2], [3]], "labels": [[0], [1]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not a corpus: corpus\.json is missing"),
        ("{", r"cannot read .*corpus\.json: .*; make the corpus again"),
        ("\udcff", r"cannot read .*corpus\.json: .*; make the corpus again"),
        ("[]", "is not a corpus"),
        ('{"kind": "tokens", "schema_version": 1}', "is not a corpus"),
        (
            '{"kind": "corpus", "schema_version": 2}',
            "has corpus schema 2, .* reads 1; make it again",
        ),
        ('{"kind": "corpus"}', "has corpus schema None"),
    ],
)
def test_json_that_is_refused(tmp_path, content, message):
    path = tmp_path / "corpus.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message):
        read_json(path, "corpus")


def test_json_of_the_right_kind(tmp_path):
    write_json(tmp_path / "c.json", stamp("corpus") | {"a": 1})
    expected = {"kind": "corpus", "schema_version": SCHEMA_VERSION, "a": 1}
    assert read_json(tmp_path / "c.json", "corpus") == expected


def a_corpus(path):
    make_corpus({"train": 3, "validation": 1, "test": 1}, task="multi").save(path)


def some_tokens(path):
    tokenizer = path.parent / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    (tokenizer / "tokenizer.json").write_text("{}")
    rows = datasets.Dataset.from_dict(ROWS)
    Tokens(
        splits={"train": rows, "validation": rows.select([1])},
        labels=LabelSpace(("x", "y"), "single"),
        recipe={"max_length": 5},
        corpus="abc",
        fingerprint="def",
        statistics={"train": {"rows": 2}},
        tokenizer=tokenizer,
    ).save(path)


def predictions():
    random = np.random.default_rng(0)
    logits = random.normal(size=(5, 3)).astype(np.float32)
    return Predictions(
        ids=list("abcde"),
        truth=np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], np.int8),
        logits=logits,
        probabilities=1 / (1 + np.exp(-logits)),
        predicted=(logits > 0).astype(np.int8),
        labels=LabelSpace(("x", "y", "ź"), "multi"),
        corpus="abc",
        classifier="def",
    )


def test_corpus_round_trip(tmp_path):
    corpus = make_corpus({"train": 3, "validation": 1, "test": 1}, task="multi")
    corpus.save(tmp_path / "c")
    loaded = Corpus.load(tmp_path / "c")
    assert {n: s.to_dict() for n, s in loaded.splits.items()} == {
        n: s.to_dict() for n, s in corpus.splits.items()
    }
    assert loaded.splits["train"].features == corpus.splits["train"].features
    assert (loaded.labels, loaded.fingerprint, loaded.report) == (
        corpus.labels, corpus.fingerprint, corpus.report,
    )  # fmt: skip


def test_corpus_with_an_empty_split(tmp_path):
    corpus = make_corpus({"train": 3, "validation": 1, "test": 1})
    corpus.splits["validation"] = corpus.splits["validation"].select([])
    corpus.save(tmp_path / "c")
    assert {n: len(s) for n, s in Corpus.load(tmp_path / "c").splits.items()} == {
        "train": 9, "validation": 0, "test": 3,
    }  # fmt: skip


def test_tokens_round_trip(tmp_path):
    some_tokens(tmp_path / "t")
    loaded = Tokens.load(tmp_path / "t")
    assert loaded.splits["train"].to_dict() == ROWS
    assert loaded.splits["validation"]["id"] == ["b"]
    assert loaded.labels == LabelSpace(("x", "y"), "single")
    assert (loaded.recipe, loaded.corpus, loaded.fingerprint, loaded.statistics) == (
        {"max_length": 5}, "abc", "def", {"train": {"rows": 2}},
    )  # fmt: skip
    assert (loaded.tokenizer / "tokenizer.json").read_text() == "{}"


def test_predictions_round_trip(tmp_path):
    saved = predictions()
    saved.save(tmp_path / "p")
    loaded = Predictions.load(tmp_path / "p")
    for name in ("truth", "logits", "probabilities", "predicted"):
        expected, found = getattr(saved, name), getattr(loaded, name)
        assert np.array_equal(found, expected), name
        assert found.dtype == expected.dtype
    assert (loaded.ids, loaded.labels) == (saved.ids, saved.labels)
    assert (loaded.corpus, loaded.classifier) == ("abc", "def")


ARTIFACTS = {
    "corpus": (a_corpus, Corpus, "train", 9),
    "tokens": (some_tokens, Tokens, "train", 2),
    "predictions": (lambda path: predictions().save(path), Predictions, "rows", 5),
}


@pytest.fixture(params=ARTIFACTS)
def artifact(request, tmp_path):
    """(directory, class, kind, directory of some rows, how many)."""
    write, kind, rows, n = ARTIFACTS[request.param]
    path = tmp_path / "artifact"
    write(path)
    kind.load(path)
    return path, kind, request.param, path / rows, n


def change_header(path, name, **changes):
    header = json.loads((path / f"{name}.json").read_text("utf-8"))
    write_json(path / f"{name}.json", header | changes)


def test_newer_schema(artifact):
    path, kind, name, _, _ = artifact
    change_header(path, name, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(UserError, match=rf"has {name} schema 2, this version of llmclf reads 1"):
        kind.load(path)


def test_another_kind(artifact):
    path, kind, name, _, _ = artifact
    change_header(path, name, kind="classifier")
    with pytest.raises(UserError, match=f"artifact is not a {name}$"):
        kind.load(path)


def test_missing_directory(artifact):
    path, kind, name, _, _ = artifact
    with pytest.raises(UserError, match=rf"elsewhere is not a {name}: {name}\.json is missing"):
        kind.load(path.parent / "elsewhere")


def test_header_without_a_key(artifact):
    path, kind, name, _, _ = artifact
    content = json.loads((path / f"{name}.json").read_text("utf-8"))
    for key in content.keys() - {"kind", "schema_version"}:
        write_json(path / f"{name}.json", {k: v for k, v in content.items() if k != key})
        with pytest.raises(UserError, match=rf"{name}\.json lacks .*'{key}'; make it again"):
            kind.load(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "gone", "state", "all"])
def test_damaged_rows(artifact, damage):
    path, kind, _, rows, _ = artifact
    (arrow,) = rows.glob("*.arrow")
    if damage == "all":
        shutil.rmtree(rows)
    elif damage == "gone":
        arrow.unlink()
    elif damage == "state":
        (rows / "state.json").write_text("{")
    else:
        content = arrow.read_bytes()
        noise = os.urandom(len(content))
        arrow.write_bytes(
            {"cut": content[: len(content) // 2], "empty": b"", "noise": noise}[damage]
        )
    with pytest.raises(UserError, match=f"cannot read the Arrow data in {rows}: .*; make it again"):
        kind.load(path)


def test_rows_of_another_length(artifact):
    path, kind, _, rows, n = artifact
    data = load_split(rows).select(range(n - 1))
    save_split(data, path / "other")
    shutil.rmtree(rows)
    (path / "other").rename(rows)
    with pytest.raises(UserError, match=f"{rows} has {n - 1} rows, expected {n}; make it again"):
        kind.load(path)


def test_rows_in_several_splits(artifact):
    path, kind, _, rows, _ = artifact
    data = load_split(rows)
    shutil.rmtree(rows)
    datasets.DatasetDict({"a": data}).save_to_disk(str(rows))
    with pytest.raises(UserError, match="holds several splits where one was expected"):
        kind.load(path)


@pytest.mark.parametrize("content", [None, "{"])
def test_damaged_report(tmp_path, content):
    a_corpus(tmp_path / "c")
    report = tmp_path / "c" / "report.json"
    report.unlink()
    if content:
        report.write_text(content)
    with pytest.raises(UserError, match=r"report\.json"):
        Corpus.load(tmp_path / "c")


@pytest.mark.parametrize("on", [True, False])
def test_progress_bars_are_left_as_they_were(tmp_path, on):
    (datasets.enable_progress_bars if on else datasets.disable_progress_bars)()
    try:
        save_split(datasets.Dataset.from_dict(ROWS), tmp_path / "s")
        assert datasets.are_progress_bars_disabled() is not on
    finally:
        datasets.enable_progress_bars()
