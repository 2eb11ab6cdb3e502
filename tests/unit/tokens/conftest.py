"""Encoders on the tiny model's tokenizer, plain and with tokens that it adds itself."""

from __future__ import annotations

import shutil

import pytest
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from llmclf_core.config import TokenizeConfig
from llmclf_core.tokens.encode import Encoder


@pytest.fixture
def encoder(tiny_base):
    """Makes an encoder of the tiny model's tokenizer."""

    def make(directory=tiny_base, **settings):
        return Encoder(directory, TokenizeConfig(**settings))

    return make


@pytest.fixture(scope="session")
def plain(tiny_base):
    """The same tokenizer as anybody would use it."""
    return AutoTokenizer.from_pretrained(tiny_base)


def with_template(tiny_base, directory, template):
    """A copy of the tiny model whose tokenizer adds tokens itself."""
    shutil.copytree(tiny_base, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template,
        special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)],
    )
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def bos_base(tiny_base, tmp_path_factory):
    return with_template(tiny_base, tmp_path_factory.mktemp("bos") / "base", "<|im_start|> $A")


@pytest.fixture(scope="session")
def bos_eos_base(tiny_base, tmp_path_factory):
    directory = tmp_path_factory.mktemp("both") / "base"
    return with_template(tiny_base, directory, "<|im_start|> $A <|im_end|>")


@pytest.fixture(scope="session")
def thinking_base(tiny_base, tmp_path_factory):
    """Its tokenizer has added tokens that are not called special, as Qwen3's has ``<think>``."""
    directory = tmp_path_factory.mktemp("thinking") / "base"
    shutil.copytree(tiny_base, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    for content, normalized in (("<think>", False), ("<tool_call>", True), ("    ", False)):
        tokenizer.add_tokens([AddedToken(content, special=False, normalized=normalized)])
    tokenizer.save_pretrained(directory)
    return directory
