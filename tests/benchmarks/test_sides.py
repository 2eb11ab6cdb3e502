"""Each side does its work by its public entry, counts it, and stops when it is told to."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from benchmarks.fast import ceiling
from benchmarks.fast.cases import CASES
from benchmarks.fast.measure import measure
from benchmarks.fast.prepare import prepare
from benchmarks.fast.quality import Answers, block
from benchmarks.fast.sides import ours, reference_head, reference_instruct, tokenizer
from benchmarks.fast.turns import Clock, StoppedError
from benchmarks.reference.rows import Row, Rows
from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import TRAIN, VALIDATION, Corpus, Tokens
from tests.benchmarks.conftest import TINY
from tests.benchmarks.test_turns import Script
from tests.conftest import WORDS, make_corpus

BY_ID = {case.id: case for case in CASES}
PROMPTED = {"prompted": True, "document": 5, "max_length": 200}


def amounts(side, work, *turns):
    """Work done in each turn; then the side is stopped."""
    script = Script(*turns, None)
    with suppress(StoppedError):
        side(work, Clock(script))
    return [turn.amount for turn in script.sent]


def real_tokens(work):
    return [len(ids) for ids in Tokens.load(work.tokens).splits[TRAIN]["input_ids"]]


@pytest.mark.parametrize("side", [ours.train_head, reference_head.train])
def test_head_training_counts_every_real_token_of_an_epoch_once(tiny_work, side):
    work = tiny_work()
    found = amounts(side, work, 1, 2, 3)
    assert len(found) == 3
    assert sum(found) == sum(real_tokens(work))  # 24 rows, 4 a step
    each = max(real_tokens(work))
    assert all(amount <= n * 4 * each for n, amount in zip((1, 2, 3), found, strict=True))


def test_operations_are_four_a_layer_parameter_and_token(tiny_work, tiny_base):
    work = tiny_work()
    parameters = ceiling.layer_parameters(tiny_base)
    tokens = amounts(ours.train_head, work, 1)[0]
    again = replace(work, scratch=work.scratch / "again")
    again.scratch.mkdir()
    assert amounts(ours.train_head_in_operations, again, 1) == [4 * parameters * tokens]


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("side", [ours.train_instruct, reference_instruct.train])
def test_instruct_training_counts_documents(tiny_work, side, task):
    assert amounts(side, tiny_work(task, **PROMPTED), 1, 2) == [4, 8]


def test_frozen_layers_are_read_from_the_cache_where_they_are_said_to_be(tiny_work, own_cache):
    work = tiny_work(top_layers=1)
    plain = amounts(ours.train_head_uncached, work, 1, 1)
    assert not (own_cache / "frozen").exists()
    assert amounts(ours.train_head, work, 1, 1) == plain
    assert list((own_cache / "frozen").rglob("*.arrow"))


@pytest.mark.parametrize("side", [ours.memory_of_head, reference_head.memory])
def test_a_whole_training_tells_its_peak_memory(tiny_work, side):
    found = side(tiny_work(epochs=1), Clock(Script()))
    assert 100e6 < found["peak_memory"] < 64e9


@pytest.mark.parametrize("side", [ours.validations_of_head, reference_head.validations])
def test_a_whole_training_tells_when_each_validation_came(tiny_work, side):
    found = side(tiny_work(epochs=2), Clock(Script()))["validations"]
    assert len(found) >= 2
    seconds = [v["seconds"] for v in found]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert all(0 <= v["macro_f1"] <= 1 for v in found)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_both_sides_predict_the_same_rows_with_the_same_adapter(tiny_work, task):
    work = tiny_work(task, **PROMPTED, epochs=1)
    ours.make_classifier(work, Clock(Script()))
    prompt = work.prompt.read_text("utf-8")
    encoder = load_classifier(work.classifier).encoder
    (encoded,) = encoder.encode(["the team"])
    told = encoder.context(encoded.ids)
    assert prompt.replace("{text}", "the team") == decode(work, told)
    for side in (ours.predict, reference_instruct.predict):
        script = Script(1, 1, None)
        assert 0 <= side(work, Clock(script))["micro_f1"] <= 1
        assert [turn.amount for turn in script.sent] == [4, 4]


def decode(work, ids):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(work.base).decode(ids)


def test_ingest_and_the_tokenizer_alone_count_the_same_tokens(tiny_base, tmp_path, monkeypatch):
    texts = tmp_path / "assets" / "bbc" / "a"
    texts.mkdir(parents=True)
    words = [word for words in WORDS.values() for word in words]
    lines = [f"{a.capitalize()} {b} the {c}." for a in words for b in words for c in words]
    (texts / "1.txt").write_text(" ".join(lines), "utf-8")
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path))
    settings = replace(TINY, corpus="sentences", train=100, max_length=64)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    case = BY_ID["ingest_tokenize"]
    work = prepare(case, settings, tmp_path / "bench", tiny_base, scratch)
    rows = Rows.read(work.rows)
    assert len(rows.train) + len(rows.validation) >= 80  # near duplicates aside
    whole = amounts(ours.ingest_and_tokenize, work, 1, 1)
    assert amounts(tokenizer.encode, work, 1, 1) == whole
    assert whole[0] == whole[1] <= 100 * 64
    assert not list(scratch.iterdir())


def test_the_ceiling_is_that_of_the_models_own_products(tiny_base, tiny_work):
    # 4 heads of 16, 2 of them for keys and values; 64 wide, 128 in the middle.
    attention = [(64, 64), (64, 32), (64, 32), (64, 64)]
    shapes = [*attention, (64, 128), (64, 128), (128, 64)]
    assert sorted(ceiling.matmul_shapes(tiny_base)) == sorted(shapes)
    norms = 4 * 2 * 64 + 64
    assert ceiling.layer_parameters(tiny_base) == 4 * sum(i * o for i, o in shapes) + norms
    matmuls = ceiling.Matmuls(tiny_base, torch.float32)
    assert matmuls.operations == 2 * 2048 * sum(i * o for i, o in shapes)
    assert set(ceiling.ceilings(tiny_base)) == {"float32", "bfloat16"}
    found = amounts(ceiling.multiply, tiny_work(), 2)
    assert found[0] % matmuls.operations == 0
    assert found[0] > 0


def test_both_sides_are_given_the_same_rows(tiny_work):
    work = tiny_work("multi", document=5, longest=True, train=12)
    rows, corpus = Rows.read(work.rows), Corpus.load(work.place / "corpus")
    tokens = Tokens.load(work.tokens)
    for split, given in ((TRAIN, rows.train), (VALIDATION, rows.validation)):
        assert [row.text for row in given] == corpus.splits[split]["text"]
        assert [len(ids) for ids in tokens.splits[split]["input_ids"]] == [5] * len(given)
        named = [list(tokens.labels.decode(ids)) for ids in tokens.splits[split]["labels"]]
        assert [row.labels for row in given] == named
    assert len(rows.train) == 12


def test_the_longest_rows_are_chosen_where_memory_is_measured(tiny_work):
    everything = make_corpus({"train": 10, "validation": 3, "test": 1}).splits[TRAIN]["text"]
    rows = Rows.read(tiny_work(longest=True, train=8).rows).train
    assert sorted(len(row.text) for row in rows) == sorted(map(len, everything))[-8:]


def test_answers_count_labels_and_blocks_go_round():
    rows = [Row("x", ["a", "b"]), Row("y", ["a"])]
    answers = Answers()
    answers.add(rows, [["a"], ["b"]])
    assert answers.micro_f1 == 2 * 1 / (2 + 3)
    assert block(rows, 1, 3) == [rows[1], rows[0], rows[1]]


def test_a_case_is_measured_in_two_processes_by_turns(tiny_base, tmp_path):
    corpus = make_corpus({"train": 10, "validation": 3, "test": 1})
    corpus.save(tmp_path / "corpora" / "bbc")
    found = measure(BY_ID["head_train_fp32"], TINY, tmp_path, tiny_base)
    assert found["low"] <= found["value"] <= found["high"]
    assert len(found["repetitions"]) == TINY.repetitions
    for pair in found["repetitions"]:
        ours, reference = (pair[n]["amount"] / pair[n]["seconds"] for n in ("ours", "reference"))
        assert pair["ratio"] == pytest.approx(ours / reference)
    assert {"cpu", "cores", "threads", "git_commit", "versions"} <= set(found["made_on"])
    assert "trl" in found["made_on"]["versions"]
    assert found["ceiling_gflops"]["before"]["float32"] > 0
