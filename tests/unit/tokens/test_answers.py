"""Verbalizers, and the token ids of answers."""

import json
import shutil

import pytest
from transformers import AutoTokenizer

from llmclf_core.config import InstructConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.tokens.answers import Answers, encode_piece, verbalize
from llmclf_core.tokens.prompt import Prompt

NAMES = ("red", "green and  blue", "b\nc")


def words(names=NAMES, **settings):
    return verbalize(InstructConfig(**settings), LabelSpace(tuple(names), "single"))


def encode(tokenizer, words, task="single", space=False):
    return Answers.encode(tokenizer, Prompt((), (), tuple(words), space), task)


def test_kinds_of_words():
    assert words() == ("red", "green and blue", "b c")
    assert words(verbalizer="number") == ("1", "2", "3")
    assert words(verbalizer="letter") == ("A", "B", "C")
    own = dict(zip(NAMES, [" rot ", "grün", "x"], strict=True))
    assert words(verbalizer=own) == ("rot", "grün", "x")


def test_many_letters():
    names = [f"label {i}" for i in range(26 * 27 + 1)]
    found = words(names, verbalizer="letter")
    assert [found[i] for i in (25, 26, 51, 52, 701, 702)] == ["Z", "AA", "AZ", "BA", "ZZ", "AAA"]
    assert len(set(found)) == len(names)


@pytest.mark.parametrize(
    ("names", "verbalizer", "message"),
    [
        (("a", "b"), {"a": "x"}, "has no words for label 'b'"),
        (("a", "b"), {"a": "x", "b": "y", "c": "z"}, "has words for unknown label 'c'"),
        (("a", "b"), {"a": "x", "b": " \n"}, "label 'b' has no words but white space"),
        (("a", "b"), {"a": "x y", "b": " x\ny"}, "'a' and 'b' have the same words 'x y'"),
        (("a b", "a  b"), "label", "'a b' and 'a  b' have the same words"),
        (("a", " "), "label", "label ' ' has no words"),
    ],
)
def test_words_that_do_not_do(names, verbalizer, message):
    with pytest.raises(UserError, match=message):
        words(names, verbalizer=verbalizer)


def test_single_label_answers(plain):
    answers = encode(plain, ["match", "match goal"])
    ids = [plain(w, add_special_tokens=False)["input_ids"] for w in ("match", "match goal")]
    assert answers.labels == tuple((*i, 2) for i in ids)
    assert answers.options == answers.labels
    assert answers.write([1]) == [*ids[1], 2]
    assert answers.longest == len(ids[1]) + 1
    assert encode(plain, ["match", "goal"], space=True).labels[0] == (
        *plain(" match", add_special_tokens=False)["input_ids"],
        2,
    )


def test_sets_are_a_line_each(plain):
    answers = encode(plain, ["match", "goal", "cup final"], "multi")
    *lines, newline = (
        plain(w, add_special_tokens=False)["input_ids"]
        for w in ("match", "goal", "cup final", "\n")
    )
    assert answers.labels == tuple((*line, *newline) for line in lines)
    assert answers.options == (*answers.labels, (2,))
    assert answers.write([0, 2]) == [*lines[0], *newline, *lines[2], *newline, 2]
    assert answers.write([]) == [2]
    assert plain.decode(answers.written([0, 2])) == "match\ncup final\n"
    assert answers.longest == len(answers.write([0, 1, 2]))


@pytest.mark.parametrize("task", ["single", "multi"])
def test_weights_follow_the_labels_tokens(plain, task):
    answers = encode(plain, ["match", "cup final"], task)
    first, second = (len(ids) for ids in answers.labels)
    if task == "single":
        assert answers.weigh([1], [2.0, 3.0]) == [3.0] * second
    else:
        assert answers.weigh([0, 1], [2.0, 3.0]) == [2.0] * first + [3.0] * second + [1.0]
        assert len(answers.weigh([1], [2.0, 3.0])) == len(answers.write([1]))


@pytest.mark.parametrize("task", ["single", "multi"])
def test_no_option_begins_another(plain, task):
    hostile = ["cat", "cat food", "category", "<|im_end|>", "cat<|im_end|>", "{x}", "🤖", "🤖🤖"]
    options = encode(plain, hostile, task).options
    for a in options:
        assert not any(a is not b and b[: len(a)] == a for b in options)


def test_added_tokens_are_text_in_words_and_themselves_in_a_template(thinking_base, plain):
    tokenizer = AutoTokenizer.from_pretrained(thinking_base)
    think, call = tokenizer.convert_tokens_to_ids(["<think>", "<tool_call>"])
    for text in ("<think>", "a<tool_call> b"):
        meant = encode_piece(tokenizer, text, True)
        assert {think, call} & set(meant)
        as_text = encode_piece(tokenizer, text, False)
        assert as_text == encode_piece(plain, text, False)
        assert plain.decode(as_text) == text
        assert encode_piece(tokenizer, text, True) == meant
    answers = encode(tokenizer, ["<think>", "goal"], "multi")
    assert answers.labels == encode(plain, ["<think>", "goal"], "multi").labels


def broken(tiny_base, path, **changes):
    """A copy of the tiny tokenizer with other settings of its normaliser or model."""
    shutil.copytree(tiny_base, path)
    file = path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return AutoTokenizer.from_pretrained(path)


def test_a_tokenizer_that_writes_two_labels_alike(tiny_base, tmp_path):
    tokenizer = broken(tiny_base, tmp_path / "t", normalizer={"type": "Lowercase"})
    with pytest.raises(UserError, match="writes 'Match' and 'match' alike"):
        encode(tokenizer, ["Match", "match"])


def test_a_tokenizer_that_writes_nothing(tiny_base, tmp_path):
    normalizer = {"type": "Replace", "pattern": {"String": "?"}, "content": ""}
    tokenizer = broken(tiny_base, tmp_path / "t", normalizer=normalizer)
    with pytest.raises(UserError, match=r"no tokens for '\?'"):
        encode(tokenizer, ["match", "?"])


def test_a_tokenizer_without_an_end(tiny_base):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="end token"):
        encode(tokenizer, ["a", "b"])
