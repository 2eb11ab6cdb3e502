"""The tokenize step: what it writes, what it keeps, what it refuses."""

import shutil

import numpy as np
import pytest

from llmclf_core.artifacts import Corpus, Tokens
from llmclf_core.config import BaseModelConfig, IngestConfig, SplitConfig, TokenizeConfig
from llmclf_core.corpus.ingest import ingest
from llmclf_core.errors import UserError
from llmclf_core.tokens import tokenize as step
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.tokenize import tokenize


@pytest.fixture
def run(tiny_base):
    """Runs the step with the tiny model's tokenizer."""

    def run(corpus, output, base=tiny_base, **settings):
        config = BaseModelConfig(source=str(base))
        return tokenize(corpus, config, TokenizeConfig(**settings), output)

    return run


@pytest.fixture
def encoded(monkeypatch):
    """The texts that were really encoded, in order."""
    seen = []
    encode = Encoder.encode

    def spy(self, texts):
        seen.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(Encoder, "encode", spy)
    return seen


@pytest.mark.parametrize("name", ["corpus_path", "multi_corpus_path"])
def test_tokens_are_those_of_the_plain_tokenizer(run, request, name, plain, tmp_path):
    path = request.getfixturevalue(name)
    tokens, corpus = run(path, tmp_path / "t"), Corpus.load(path)
    for split in ("train", "validation"):
        rows, source = tokens.splits[split], corpus.splits[split]
        assert rows["id"] == source["id"]
        assert rows["labels"] == source["labels"]
        assert rows["input_ids"] == plain(list(source["text"]))["input_ids"]
        assert set(rows.column_names) == {"id", "labels", "input_ids"}
    assert tokens.labels == corpus.labels
    assert tokens.corpus == corpus.fingerprint


def test_test_rows_are_never_encoded(run, corpus_path, tmp_path, encoded):
    tokens = run(corpus_path, tmp_path / "t")
    corpus = Corpus.load(corpus_path)
    assert set(tokens.splits) == {"train", "validation"}
    assert sorted(encoded) == sorted(
        [*corpus.splits["train"]["text"], *corpus.splits["validation"]["text"]]
    )
    assert not any("test-" in i for split in tokens.splits.values() for i in split["id"])
    content = b"".join(f.read_bytes() for f in (tmp_path / "t").rglob("*") if f.is_file())
    assert b"train-0" in content
    assert b"test-0" not in content


@pytest.mark.parametrize(
    "settings", [{}, {"truncation_side": "left"}, {"append_eos": True}], ids=str
)
def test_statistics_are_exact(run, corpus_path, plain, tmp_path, settings):
    tokens = run(corpus_path, tmp_path / "t", max_length=15, **settings)
    corpus = Corpus.load(corpus_path)
    room = 15 - ("append_eos" in settings)
    for split in ("train", "validation"):
        whole = np.array(
            [len(ids) for ids in plain(list(corpus.splits[split]["text"]))["input_ids"]]
        )
        kept = np.minimum(whole, room)
        assert 0 < (whole > room).sum() < len(whole)
        assert tokens.statistics[split] == {
            "rows": len(whole),
            "tokens": kept.sum() + len(whole) * ("append_eos" in settings),
            "longest": 15,
            "truncated_rows": (whole > room).sum(),
            "lost_tokens": (whole - kept).sum(),
        }
    assert Tokens.load(tmp_path / "t").statistics == tokens.statistics


def test_statistics_are_told(run, corpus_path, tmp_path, caplog):
    caplog.set_level("INFO")
    stats = run(corpus_path, tmp_path / "t", max_length=15).statistics["train"]
    share = 100 * stats["lost_tokens"] / (stats["tokens"] + stats["lost_tokens"])
    assert (
        f"train: 72 rows, {stats['tokens']} tokens; {stats['truncated_rows']} rows truncated, "
        in (caplog.text)
    )
    assert f"({share:.1f} %)" in caplog.text


def test_same_input_is_encoded_once(run, corpus_path, tmp_path, encoded):
    first = run(corpus_path, tmp_path / "a")
    count = len(encoded)
    second = run(corpus_path, tmp_path / "b")
    assert len(encoded) == count > 0
    assert first.fingerprint == second.fingerprint
    assert (
        Tokens.load(tmp_path / "b").splits["train"]["input_ids"]
        == first.splits["train"]["input_ids"]
    )


@pytest.mark.parametrize(
    "settings", [{"max_length": 20}, {"truncation_side": "left"}, {"append_eos": True}], ids=str
)
def test_other_settings_are_encoded_again(run, corpus_path, tmp_path, encoded, settings):
    first = run(corpus_path, tmp_path / "a")
    count = len(encoded)
    second = run(corpus_path, tmp_path / "b", **settings)
    assert len(encoded) == 2 * count
    assert first.fingerprint != second.fingerprint


def test_other_corpus_or_tokenizer_is_encoded_again(
    run, corpus_path, multi_corpus_path, bos_base, tmp_path, encoded
):
    prints = {
        run(corpus_path, tmp_path / "a").fingerprint,
        run(multi_corpus_path, tmp_path / "b").fingerprint,
        run(corpus_path, tmp_path / "c", base=bos_base).fingerprint,
    }
    assert len(prints) == 3
    assert len(encoded) == 3 * 96


def test_output_outlives_the_cache(run, corpus_path, tmp_path, own_cache):
    run(corpus_path, tmp_path / "a")
    run(corpus_path, tmp_path / "b")  # from the cache
    shutil.rmtree(own_cache)
    for name in ("a", "b"):
        tokens = Tokens.load(tmp_path / name)
        assert len(tokens.splits["train"]["input_ids"]) == 72
        assert Encoder(tokens.tokenizer, TokenizeConfig(**tokens.recipe)).encode(["a"])


def test_output_where_hard_links_do_not_work(run, corpus_path, tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(step.os, "link", no_link)
    run(corpus_path, tmp_path / "a")
    assert len(Tokens.load(tmp_path / "a").splits["train"]) == 72
    assert all(f.stat().st_nlink == 1 for f in (tmp_path / "a").rglob("*") if f.is_file())


@pytest.mark.parametrize("damage", ["cut", "gone", "schema"])
def test_damaged_cache_is_made_again(run, corpus_path, tmp_path, own_cache, encoded, damage):
    run(corpus_path, tmp_path / "a")
    count = len(encoded)
    (cached,) = (own_cache / "tokens").iterdir()
    (arrow,) = (cached / "train").glob("*.arrow")
    content = arrow.read_bytes()
    arrow.unlink()  # not through the hard link into the first output
    if damage == "cut":
        arrow.write_bytes(content[:-2000])
    elif damage == "schema":
        arrow.write_bytes(content)
        header = cached / "tokens.json"
        text = header.read_text("utf-8")
        header.unlink()
        header.write_text(text.replace('"schema_version": 1', '"schema_version": 0'), "utf-8")
    run(corpus_path, tmp_path / "b")
    assert len(encoded) == 2 * count
    assert len(Tokens.load(tmp_path / "a").splits["train"]["input_ids"]) == 72


def test_corpus_without_validation_rows(run, tmp_path):
    rows = "".join(f"word{i} alpha{i * 7} beta{i * 3},{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    split = SplitConfig(validation=0.0)
    ingest(IngestConfig(source=str(tmp_path / "rows.csv"), split=split), tmp_path / "c")
    with pytest.raises(UserError, match=r"has no validation rows, .*; change ingest\.split"):
        run(tmp_path / "c", tmp_path / "t")


def test_longer_than_the_model_reads(run, corpus_path, tiny_base, tmp_path):
    run(corpus_path, tmp_path / "t", max_length=1024)
    with pytest.raises(UserError, match=rf"max_length is 1025, but {tiny_base} takes 1024 tokens"):
        run(corpus_path, tmp_path / "u", max_length=1025)


def test_no_corpus(run, tmp_path):
    with pytest.raises(UserError, match=r"is not a corpus: corpus\.json is missing"):
        run(tmp_path, tmp_path / "t")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_damaged_corpus(run, corpus_path, tmp_path, split):
    copy = shutil.copytree(corpus_path, tmp_path / "c")
    (arrow,) = (copy / split).glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-500])
    with pytest.raises(UserError, match=f"cannot read the Arrow data in .*{split}"):
        run(copy, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_no_base_model(run, corpus_path, tmp_path):
    with pytest.raises(UserError, match="base model /no/such/model"):
        run(corpus_path, tmp_path / "t", base="/no/such/model")


def test_unwritable_output(run, corpus_path, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/t"):
        run(corpus_path, tmp_path / "file" / "t")


def test_unwritable_cache(run, corpus_path, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*file/tokens"):
        run(corpus_path, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_saved_tokenizer_is_the_one_used(run, corpus_path, tiny_base, tmp_path):
    tokens = run(corpus_path, tmp_path / "t", max_length=50)
    config = TokenizeConfig(**tokens.recipe)
    assert config.max_length == 50
    mine, theirs = Encoder(tokens.tokenizer, config), Encoder(tiny_base, config)
    assert mine.fingerprint == theirs.fingerprint
    assert not list(tokens.tokenizer.glob("*.safetensors"))
