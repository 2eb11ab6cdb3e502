"""Text to token ids, the same at training and at prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from llmclf_core.config import TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.paths import fingerprint
from llmclf_core.tokens.texts import clean_texts


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text, and how many tokens were cut off."""

    ids: list[int]
    lost: int


class Encoder:
    """A fast tokenizer with truncation, where added tokens in user text are plain text.

    Without that, a document that contains ``<|im_end|>`` could end its own turn. Encoding runs in
    the tokenizer's own threads and is safe to call from several threads.

    Attributes:
        pad_id: fills batches; never read as content, since pooling goes by the attention mask.
    """

    def __init__(self, directory: Path, config: TokenizeConfig, bare: bool = False) -> None:
        """Args:
        directory: where the tokenizer lies.
        config: truncation and so on.
        bare: a text stands inside a prompt: no special tokens are added, and it may be empty.

        Raises:
            UserError: when there is no fast tokenizer in ``directory``.
        """
        self.directory = directory
        self.config = config
        tokenizer = load_tokenizer(directory)
        self._bare = bare
        self._backend = tokenizer.backend_tokenizer
        read_as_text(self._backend)
        self._backend.no_padding()
        self._eos = _missing_eos(tokenizer, directory) if config.append_eos else None
        self._added = 0 if bare else self._backend.num_special_tokens_to_add(False)
        room = _room(self._added, config.max_length, int(self._eos is not None))
        self._backend.enable_truncation(max_length=room, direction=config.truncation_side)
        self.pad_id = _first_set(tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self._stand_in = _first_set(tokenizer.bos_token_id, tokenizer.eos_token_id, self.pad_id)

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer's rules and vocabulary, and of the settings."""
        ids = [self._eos, self._stand_in, self.pad_id]
        return fingerprint(self._backend.to_str(), self.config.model_dump(), ids)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts; every result has at least one token, unless they are bare.

        Lone surrogates, which no UTF-8 can express, become U+FFFD.

        Raises:
            UserError: for something that is not a list of strings.
        """
        # The fast one does without the places of tokens in a text, which nobody asks for.
        encodings = self._backend.encode_batch_fast(
            clean_texts(texts), add_special_tokens=not self._bare
        )
        return [
            Encoded(self._finish(e.ids), sum(len(o.ids) - self._added for o in e.overflowing))
            for e in encodings
        ]

    def _finish(self, ids: list[int]) -> list[int]:
        if self._eos is not None:
            return [*ids, self._eos]
        # An empty text still has to be classified.
        return ids if ids or self._bare else [self._stand_in]


def load_tokenizer(directory: Path) -> Any:
    """A fast tokenizer; raises UserError when there is none in ``directory``."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare ones
        raise UserError(f"cannot load the tokenizer in {directory}: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer in {directory} is slow; llmclf needs a fast one")
    return tokenizer


def read_as_text(backend: Any) -> None:
    """Have a tokenizer's backend read added tokens in a text as plain text, special or not.

    ``encode_special_tokens`` alone leaves those that are not special, such as Qwen3's ``<think>``.
    Marked as special they keep their ids. Runs of white space (GPT-NeoX adds some) are text.
    """
    added = backend.get_added_tokens_decoder().values()
    others = [t for t in added if not t.special and t.content.replace("▁", " ").strip()]
    for token in others:
        token.special = True
    backend.add_special_tokens(others)
    backend.encode_special_tokens = True


def _missing_eos(tokenizer: Any, directory: Path) -> int | None:
    """The end token, unless the tokenizer adds it by itself."""
    if tokenizer.eos_token_id is None:
        raise UserError(f"tokenize.append_eos: the tokenizer in {directory} has no eos token")
    eos = int(tokenizer.eos_token_id)
    return None if tokenizer.backend_tokenizer.encode("").ids[-1:] == [eos] else eos


def _room(added: int, max_length: int, appended: int) -> int:
    special = added + appended
    if max_length <= special:
        raise UserError(
            f"tokenize.max_length is {max_length}, but {special} special tokens are added"
        )
    return max_length - appended


def _first_set(*candidates: int | None) -> int:
    return next(int(c) for c in candidates if c is not None)
