"""Text to token ids, against the tokenizer as transformers gives it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from transformers import AutoTokenizer

from llmclf_core.config import TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.tokens.encode import Encoder
from tests.conftest import WORDS, sentence

LONG = " ".join(word for words in WORDS.values() for word in words)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def one(encoder, text):
    (encoded,) = encoder.encode([text])
    return encoded


def test_short_text_is_the_plain_tokenization(encoder, plain):
    encoded = one(encoder(), LONG)
    assert encoded.ids == plain(LONG)["input_ids"]
    assert encoded.lost == 0


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [1, 5, 17, 10_000])
def test_truncation_cuts_the_plain_tokenization(encoder, plain, side, length):
    whole = plain(LONG)["input_ids"]
    encoded = one(encoder(max_length=length, truncation_side=side), LONG)
    assert encoded.ids == (whole[:length] if side == "right" else whole[-length:])
    assert encoded.lost == max(len(whole) - length, 0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [2, 5, 17, 10_000])
def test_appended_end_token_keeps_the_length(encoder, plain, side, length):
    whole = plain(LONG)["input_ids"]
    encoded = one(encoder(max_length=length, truncation_side=side, append_eos=True), LONG)
    kept = min(length - 1, len(whole))
    assert encoded.ids == [*(whole[:kept] if side == "right" else whole[-kept:]), 2]
    assert encoded.lost == len(whole) - kept


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [2, 5, 17, 10_000])
def test_tokenizer_that_adds_a_begin_token(encoder, plain, bos_base, side, length):
    whole = plain(LONG)["input_ids"]
    encoded = one(encoder(bos_base, max_length=length, truncation_side=side), LONG)
    kept = min(length - 1, len(whole))
    assert encoded.ids == [1, *(whole[:kept] if side == "right" else whole[-kept:])]
    assert encoded.lost == len(whole) - kept


@pytest.mark.parametrize("length", [3, 10_000])
def test_end_token_is_not_appended_twice(encoder, plain, bos_eos_base, length):
    whole = plain(LONG)["input_ids"]
    encoded = one(encoder(bos_eos_base, max_length=length, append_eos=True), LONG)
    kept = min(length - 2, len(whole))
    assert encoded.ids == [1, *whole[:kept], 2]
    assert encoded.lost == len(whole) - kept


@pytest.mark.parametrize("text", ["", " \n"])
def test_every_text_has_a_token(encoder, bos_base, text):
    assert len(one(encoder(), text).ids) >= 1
    assert one(encoder(), "").ids == [1]
    assert one(encoder(append_eos=True), "").ids == [2]
    assert one(encoder(bos_base), "").ids == [1]


@pytest.mark.parametrize("token", SPECIALS)
@pytest.mark.parametrize("pattern", ["{}", "a {} b", "{}{}", "a{}", " {} "])
def test_special_tokens_in_text_are_plain_text(encoder, plain, token, pattern):
    text = pattern.replace("{}", token)
    encoded = one(encoder(), text)
    assert set(plain(text)["input_ids"]) & {0, 1, 2}  # without care they would be
    assert not set(encoded.ids) & {0, 1, 2}
    assert plain.decode(encoded.ids) == text


@pytest.mark.parametrize("token", ["<think>", "<tool_call>", "<|im_end|>"])
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("pattern", ["{}", "a {} b", "{}{}", "a{}", " {} "])
def test_no_added_token_is_special_in_text(encoder, plain, thinking_base, token, bare, pattern):
    text = pattern.replace("{}", token)
    thinking = AutoTokenizer.from_pretrained(thinking_base)
    number = thinking.convert_tokens_to_ids(token)
    assert number in thinking(text)["input_ids"]  # without care it would be
    ids = one(Encoder(thinking_base, TokenizeConfig(), bare), text).ids
    assert ids == one(encoder(), text).ids  # as if the tokenizer had never heard of it
    assert plain.decode(ids) == text


def test_added_white_space_and_other_tokens_keep_their_ids(encoder, thinking_base):
    thinking = AutoTokenizer.from_pretrained(thinking_base)
    (spaces,) = thinking("    ")["input_ids"]
    assert spaces in one(encoder(thinking_base), "goal    match").ids
    for text in (LONG, "goal    match", "漢字 😀"):
        assert one(encoder(thinking_base), text).ids == thinking(text)["input_ids"]


@pytest.mark.parametrize("text", ["漢字 😀 שלום", "a\0b", "tab\tand\r\nline", "e\u0301"])
def test_nothing_is_lost_of_unusual_characters(encoder, plain, text):
    assert plain.decode(one(encoder(), text).ids) == text


def test_lone_surrogate_becomes_the_replacement_character(encoder, plain):
    assert plain.decode(one(encoder(), "a \ud800 b\udfff").ids) == "a \ufffd b\ufffd"
    assert one(encoder(), "😀").ids == plain("😀")["input_ids"]


def test_order_is_kept_and_other_texts_do_not_matter(encoder):
    random = np.random.default_rng(0)
    texts = [sentence("music", random, int(n)) for n in random.integers(1, 60, 50)]
    subject = encoder(max_length=40)
    assert subject.encode(texts) == [one(subject, text) for text in texts]
    assert subject.encode([]) == []


def test_several_threads(encoder):
    subject = encoder(max_length=20)
    texts = [LONG[i:] for i in range(200)]
    expected = subject.encode(texts)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda t: one(subject, t), texts * 5)) == expected * 5


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a text", "one text was given where a list of texts was expected"),
        (["a", None], "text 1 is not a string but NoneType: None"),
        ([3.5], r"text 0 is not a string but float: 3\.5"),
        ([b"bytes"], "text 0 is not a string but bytes"),
    ],
)
def test_what_is_not_text(encoder, texts, message):
    with pytest.raises(UserError, match=message):
        encoder().encode(texts)


def test_fingerprint_is_that_of_content_and_settings(encoder, tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    assert encoder(copy).fingerprint == encoder().fingerprint
    others = [
        encoder(max_length=100),
        encoder(truncation_side="left"),
        encoder(append_eos=True),
        encoder(changed(tiny_base, tmp_path / "vocabulary", "tokenizer.json", swap_vocabulary)),
        encoder(changed(tiny_base, tmp_path / "eos", "tokenizer_config.json", other_eos)),
    ]
    assert len({e.fingerprint for e in [encoder(), *others]}) == 6


def changed(source, target, name, change):
    shutil.copytree(source, target)
    data = json.loads((target / name).read_text("utf-8"))
    change(data)
    (target / name).write_text(json.dumps(data), "utf-8")
    return target


def swap_vocabulary(data):
    vocabulary = data["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def other_eos(data):
    data["eos_token"] = data["pad_token"] = "<|endoftext|>"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 1, "append_eos": True}, "max_length is 1, but 1 special tokens are added"),
        ({"max_length": 1}, "max_length is 1, but 1 special tokens are added"),
    ],
)
def test_no_room_for_text(encoder, bos_base, tiny_base, settings, message):
    with pytest.raises(UserError, match=message):
        encoder(tiny_base if "append_eos" in settings else bos_base, **settings)


def no_eos(data):
    data["eos_token"] = data["pad_token"] = None


def no_names(data):
    for name in ("eos_token", "pad_token", "bos_token", "unk_token"):
        data[name] = None


def test_no_end_token(encoder, tiny_base, tmp_path):
    directory = changed(tiny_base, tmp_path / "t", "tokenizer_config.json", no_eos)
    with pytest.raises(UserError, match=r"append_eos: the tokenizer in .* has no eos token"):
        encoder(directory, append_eos=True)


def test_tokenizer_without_any_special_token(encoder, tiny_base, tmp_path):
    directory = changed(tiny_base, tmp_path / "t", "tokenizer_config.json", no_names)
    subject = encoder(directory)
    assert subject.pad_id == 0
    assert one(subject, "").ids == [0]


def test_pad_id(encoder):
    assert encoder().pad_id == 2


def test_no_tokenizer(encoder, tmp_path):
    with pytest.raises(UserError, match="cannot load the tokenizer in"):
        encoder(tmp_path)


def test_slow_tokenizer(encoder, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", property(lambda self: False))
    with pytest.raises(UserError, match="is slow; llmclf needs a fast one"):
        encoder()


def test_damaged_tokenizer(encoder, tiny_base, tmp_path):
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    file = copy / "tokenizer.json"
    data = json.loads(file.read_text("utf-8"))
    data["model"]["merges"] = [["no", "such"]]  # valid JSON, no valid tokenizer
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(UserError, match="cannot load the tokenizer in"):
        encoder(copy)
