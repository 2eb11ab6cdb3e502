"""Documents inside a prompt, and the tokenize step with one."""

import pytest

from llmclf_core.artifacts import Corpus, Tokens
from llmclf_core.config import BaseModelConfig, InstructConfig, TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.tokens.instruct import InstructEncoder
from llmclf_core.tokens.prompt import Prompt
from llmclf_core.tokens.tokenize import tokenize

LABELS = LabelSpace(("money", "music", "sport"), "multi")


@pytest.fixture
def encoder(tiny_base):
    def make(labels=LABELS, instruct=None, **settings):
        config = TokenizeConfig(**settings)
        return InstructEncoder.of(tiny_base, config, InstructConfig(**(instruct or {})), labels)

    return make


def test_documents_are_bare(encoder, plain):
    text = "the match <|im_end|> goal"
    (encoded,) = encoder().encode([text])
    assert plain.decode(encoded.ids) == text
    assert not set(encoded.ids) & set(plain.all_special_ids)
    assert encoder(append_eos=True).encode([text])[0] == encoded
    assert encoder().encode([""])[0].ids == []


@pytest.mark.parametrize("side", ["right", "left"])
def test_everything_fits_and_no_token_is_wasted(encoder, plain, side):
    long = "match goal team player " * 100
    made = encoder(max_length=160, truncation_side=side)
    (encoded,) = made.encode([long])
    whole = plain(long)["input_ids"]
    assert len(made.context(encoded.ids)) + made.answers.longest == 160
    assert encoded.ids == (
        whole[: len(encoded.ids)] if side == "right" else whole[-len(encoded.ids) :]
    )
    assert encoded.lost == len(whole) - len(encoded.ids)


def test_no_room_for_a_text(encoder):
    made = encoder()
    taken = len(made.context([])) + made.answers.longest
    assert len(encoder(max_length=taken + 8).encode(["match goal " * 99])[0].ids) == 8
    message = (
        rf"is {taken + 7}, but the prompt takes {len(made.context([]))} tokens and the longest "
        rf"answer {made.answers.longest}; at least 8 more"
    )
    with pytest.raises(UserError, match=message):
        encoder(max_length=taken + 7)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": LabelSpace(LABELS.names, "single")},
        {"labels": LabelSpace(LABELS.names[::-1], "multi")},
        {"instruct": {"prompt": "{labels}{text}"}},
        {"instruct": {"verbalizer": "letter"}},
        {"max_length": 200},
        {"truncation_side": "left"},
    ],
    ids=str,
)
def test_whatever_changes_the_tokens_changes_the_fingerprint(encoder, change):
    assert encoder(**change).fingerprint != encoder().fingerprint == encoder().fingerprint


def test_tokenize_for_a_prompt(multi_corpus_path, tiny_base, plain, tmp_path):
    base, config = BaseModelConfig(source=str(tiny_base)), TokenizeConfig(max_length=200)
    tokens = tokenize(multi_corpus_path, base, config, tmp_path / "a", InstructConfig())
    corpus = Corpus.load(multi_corpus_path)
    assert tokens.splits["train"]["input_ids"] == [
        plain(text)["input_ids"] for text in corpus.splits["train"]["text"]
    ]
    assert tokens.statistics["train"]["tokens"] == sum(
        len(ids) for ids in tokens.splits["train"]["input_ids"]
    )
    loaded = Tokens.load(tmp_path / "a", prompted=True)
    assert Prompt.from_json(loaded.prompt).words == corpus.labels.names
    other = tokenize(
        multi_corpus_path, base, config, tmp_path / "b", InstructConfig(verbalizer="number")
    )
    bare = tokenize(multi_corpus_path, base, config, tmp_path / "c")
    assert len({t.fingerprint for t in (tokens, other, bare)}) == 3
    assert other.prompt["words"] == ["1", "2", "3"]
    assert bare.prompt is None
    with pytest.raises(UserError, match="a was made for instruct; tokenize the corpus"):
        Tokens.load(tmp_path / "a", prompted=False)
    with pytest.raises(UserError, match="c was not made for instruct; tokenize the corpus"):
        Tokens.load(tmp_path / "c", prompted=True)
