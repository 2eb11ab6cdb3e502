"""What a model may write: the words of each label, and their token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llmclf_core.config import InstructConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace, Task
from llmclf_core.tokens.encode import read_as_text
from llmclf_core.tokens.prompt import Prompt

Ids = tuple[int, ...]

_SHOWN = 5


def verbalize(config: InstructConfig, labels: LabelSpace) -> tuple[str, ...]:
    """The words of each label, on one line and without white space around.

    Raises:
        UserError: when the user's words are not for exactly the labels, or two are alike or empty.
    """
    verbalizer = config.verbalizer
    if isinstance(verbalizer, dict):
        _check_names(verbalizer, labels)
        words = [verbalizer[name] for name in labels.names]
    elif verbalizer == "label":
        words = list(labels.names)
    else:
        write = str if verbalizer == "number" else _letters
        words = [write(i) for i in range(1, len(labels) + 1)]
    words = [" ".join(word.split()) for word in words]
    _check_words(words, labels)
    return tuple(words)


def _letters(number: int) -> str:
    """1 to A, 26 to Z, 27 to AA: as spreadsheets name their columns."""
    rest, last = divmod(number - 1, 26)
    return (_letters(rest) if rest else "") + chr(ord("A") + last)


def _check_names(words: dict[str, str], labels: LabelSpace) -> None:
    missing = [name for name in labels.names if name not in words]
    unknown = [name for name in words if name not in labels.names]
    for names, what in ((missing, "has no words for"), (unknown, "has words for unknown")):
        if names:
            shown = ", ".join(map(repr, names[:_SHOWN])) + (" …" if len(names) > _SHOWN else "")
            raise UserError(f"instruct.verbalizer {what} label {shown}; give each label its words")


def _check_words(words: Sequence[str], labels: LabelSpace) -> None:
    seen: dict[str, str] = {}
    for word, name in zip(words, labels.names, strict=True):
        if not word:
            raise UserError(f"instruct.verbalizer: label {name!r} has no words but white space")
        if word in seen:
            raise UserError(
                f"instruct.verbalizer: labels {seen[word]!r} and {name!r} have the same words "
                f"{word!r}; give each its own"
            )
        seen[word] = name


@dataclass(frozen=True)
class Answers:
    """Token ids of everything a model may write.

    A single label is its words and the end token. A set is its labels in order, a line each, and
    the end token. So no option is the beginning of another.

    Attributes:
        labels: token ids of each label, its end or line end included.
        end: the end token.
        task: single or multi.
    """

    labels: tuple[Ids, ...]
    end: int
    task: Task

    @classmethod
    def encode(cls, tokenizer: Any, prompt: Prompt, task: Task) -> Answers:
        """Encode a prompt's words; added tokens in them are plain text.

        Raises:
            UserError: for a tokenizer without an end token, or that writes two labels alike.
        """
        if tokenizer.eos_token_id is None:
            raise UserError("instruct needs a tokenizer with an end token (eos), and this has none")
        end = int(tokenizer.eos_token_id)
        terminator = (end,) if task == "single" else encode_piece(tokenizer, "\n", False)
        space = " " if prompt.space else ""
        encoded = [encode_piece(tokenizer, space + word, False) for word in prompt.words]
        answers = cls(tuple((*ids, *terminator) for ids in encoded), end, task)
        _check_options(answers, encoded, prompt.words)
        return answers

    @property
    def options(self) -> tuple[Ids, ...]:
        """Every option: the labels, and, when multi-label, the end."""
        return self.labels if self.task == "single" else (*self.labels, (self.end,))

    def write(self, label_ids: Sequence[int]) -> list[int]:
        """A whole answer; one label when single-label, else any number, ascending."""
        written = self.written(label_ids)
        return written if self.task == "single" else [*written, self.end]

    def written(self, label_ids: Sequence[int]) -> list[int]:
        """The labels' part of an answer."""
        return [token for i in label_ids for token in self.labels[i]]

    def weigh(self, label_ids: Sequence[int], weights: Sequence[float]) -> list[float]:
        """A weight for each token of :meth:`write`: its label's, and 1 for the end of a set."""
        weighed = [weights[i] for i in label_ids for _ in self.labels[i]]
        return weighed if self.task == "single" else [*weighed, 1.0]

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        lengths = [len(ids) for ids in self.labels]
        return max(lengths) if self.task == "single" else sum(lengths) + 1


def _check_options(answers: Answers, encoded: Sequence[Ids], words: Sequence[str]) -> None:
    for ids, word in zip(encoded, words, strict=True):
        if not ids:
            raise UserError(f"instruct.verbalizer: the tokenizer has no tokens for {word!r}")
    names = [*words, "the end"]
    ordered = sorted((ids, name) for ids, name in zip(answers.options, names, strict=False))
    # In order, an option is followed at once by those that begin with it.
    for (a, first), (b, second) in pairwise(ordered):
        if b[: len(a)] == a:
            raise UserError(
                f"instruct.verbalizer: the tokenizer writes {first!r} and {second!r} alike; give "
                "one of them other words"
            )


def encode_piece(tokenizer: Any, text: str, special: bool) -> Ids:
    """Token ids of a piece of a prompt or answer, nothing added.

    Args:
        tokenizer: a fast tokenizer that nothing else uses at the time.
        text: the piece.
        special: whether added tokens in it are meant, or plain text.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    if special:
        backend.encode_special_tokens = False
    else:
        read_as_text(backend)
    return tuple(backend.encode(text, add_special_tokens=False).ids)
