"""Text to token ids, the same at training and at prediction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from llmclf_core.config import TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.paths import fingerprint

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text, and how many tokens were cut off."""

    ids: list[int]
    lost: int


class Encoder:
    """A fast tokenizer with truncation, where special tokens in user text are plain text.

    Without that, a document that contains ``<|im_end|>`` could end its own turn. Encoding runs in
    the tokenizer's own threads and is safe to call from several threads.

    Attributes:
        pad_id: fills batches; never read as content, since pooling goes by the attention mask.
    """

    def __init__(self, directory: Path, config: TokenizeConfig) -> None:
        """Raises UserError when there is no fast tokenizer in ``directory``."""
        self.directory = directory
        self.config = config
        tokenizer = _load(directory)
        self._backend = tokenizer.backend_tokenizer
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._eos = _missing_eos(tokenizer, directory) if config.append_eos else None
        room = _room(self._backend, config.max_length, int(self._eos is not None))
        self._backend.enable_truncation(max_length=room, direction=config.truncation_side)
        self.pad_id = _first_set(tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self._stand_in = _first_set(tokenizer.bos_token_id, tokenizer.eos_token_id, self.pad_id)

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer's rules and vocabulary, and of the settings."""
        ids = [self._eos, self._stand_in, self.pad_id]
        return fingerprint(self._backend.to_str(), self.config.model_dump(), ids)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts; every result has at least one token.

        Lone surrogates, which no UTF-8 can express, become U+FFFD.

        Raises:
            UserError: for something that is not a list of strings.
        """
        special = self._backend.num_special_tokens_to_add(False)
        return [
            Encoded(self._finish(e.ids), sum(len(o.ids) - special for o in e.overflowing))
            for e in self._backend.encode_batch(_clean(texts))
        ]

    def _finish(self, ids: list[int]) -> list[int]:
        if self._eos is not None:
            return [*ids, self._eos]
        return ids or [self._stand_in]  # an empty text still has to be classified


def _clean(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise UserError("one text was given where a list of texts was expected")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"text {i} is not a string but {type(text).__name__}: {text!r:.100}")
    return [_SURROGATE.sub("\ufffd", text) for text in texts]


def _load(directory: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare ones
        raise UserError(f"cannot load the tokenizer in {directory}: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer in {directory} is slow; llmclf needs a fast one")
    return tokenizer


def _missing_eos(tokenizer: Any, directory: Path) -> int | None:
    """The end token, unless the tokenizer adds it by itself."""
    if tokenizer.eos_token_id is None:
        raise UserError(f"tokenize.append_eos: the tokenizer in {directory} has no eos token")
    eos = int(tokenizer.eos_token_id)
    return None if tokenizer.backend_tokenizer.encode("").ids[-1:] == [eos] else eos


def _room(backend: Any, max_length: int, appended: int) -> int:
    special = backend.num_special_tokens_to_add(False) + appended
    if max_length <= special:
        raise UserError(
            f"tokenize.max_length is {max_length}, but {special} special tokens are added"
        )
    return max_length - appended


def _first_set(*candidates: int | None) -> int:
    return next(int(c) for c in candidates if c is not None)
