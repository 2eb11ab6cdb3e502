"""Documents inside a prompt: the shared parts, and each text's own token ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from llmclf_core.config import InstructConfig, TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.paths import fingerprint
from llmclf_core.tokens.answers import Answers, Ids, encode_piece, verbalize
from llmclf_core.tokens.encode import Encoded, Encoder, load_tokenizer
from llmclf_core.tokens.prompt import Piece, Prompt

_LEAST = 8
"""A document's tokens that there must be room for."""


class InstructEncoder:
    """Texts to token ids of the document alone; what stands around it is the same for all.

    Attributes:
        prefix: token ids before a document.
        suffix: token ids after it; never empty.
        answers: token ids of what may follow.
        pad_id: fills batches.
    """

    def __init__(
        self, directory: Path, config: TokenizeConfig, prompt: Prompt, labels: LabelSpace
    ) -> None:
        """Args:
        directory: where the tokenizer lies.
        config: ``max_length`` counts prompt, document and the longest answer; ``append_eos`` has no
            meaning here.
        prompt: rendered for these labels.
        labels: the label space.

        Raises:
            UserError: when too few tokens are left for a document, or the tokenizer does not do.
        """
        self.directory, self.config, self.prompt = directory, config, prompt
        tokenizer = load_tokenizer(directory)
        self.answers = Answers.encode(tokenizer, prompt, labels.task)
        self.prefix, self.suffix = (
            _encode(tokenizer, pieces) for pieces in (prompt.before, prompt.after)
        )
        if not self.suffix:
            raise UserError(
                "the model's chat template has no beginning of an answer; set instruct.chat: plain"
            )
        room = config.max_length - len(self.prefix) - len(self.suffix) - self.answers.longest
        if room < _LEAST:
            raise UserError(
                f"tokenize.max_length is {config.max_length}, but the prompt takes "
                f"{len(self.prefix) + len(self.suffix)} tokens and the longest answer "
                f"{self.answers.longest}; at least {_LEAST} more are needed for the text: raise it "
                "(instruct.tokenize.max_length), or shorten instruct.prompt or instruct.verbalizer"
            )
        changes = {"max_length": room, "append_eos": False}
        self._document = Encoder(directory, config.model_copy(update=changes), bare=True)
        self.pad_id = self._document.pad_id

    @classmethod
    def of(
        cls, directory: Path, config: TokenizeConfig, instruct: InstructConfig, labels: LabelSpace
    ) -> InstructEncoder:
        """Render the prompt; arguments and errors as above and of :meth:`Prompt.render`."""
        return cls(directory, config, render(directory, instruct, labels), labels)

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer, the settings, the prompt and the answers."""
        parts = [self.prefix, self.suffix, self.answers.options, self.answers.end]
        settings = self.config.model_dump(exclude={"append_eos"})
        return fingerprint(self._document.fingerprint, settings, self.prompt.to_json(), parts)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode documents, cut to the room that the prompt leaves; an empty text has no tokens.

        Raises:
            UserError: for something that is not a list of strings.
        """
        return self._document.encode(texts)

    def context(self, document: Sequence[int]) -> list[int]:
        """All that stands before an answer."""
        return [*self.prefix, *document, *self.suffix]


def render(directory: Path, instruct: InstructConfig, labels: LabelSpace) -> Prompt:
    """The prompt that these settings make with the tokenizer in ``directory``."""
    words = verbalize(instruct, labels)
    return Prompt.render(load_tokenizer(directory), instruct, labels, words)


def _encode(tokenizer: Any, pieces: Sequence[Piece]) -> Ids:
    encoded = (encode_piece(tokenizer, text, special) for text, special in pieces)
    return tuple(chain.from_iterable(encoded))
