"""The prompt: what a model reads before a document and after it, up to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from llmclf_core.config import InstructConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace

Piece = tuple[str, bool]
"""A part of the prompt, and whether special tokens in it are meant: only the template's are."""

SINGLE = "Choose the one label that fits the text.\n\nLabels:\n{labels}\n\nText:\n{text}"
MULTI = (
    "Choose all labels that fit the text, in the order of the list, one a line.\n\n"
    "Labels:\n{labels}\n\nText:\n{text}"
)
ANSWER = "\nAnswer:"

_SYSTEM, _USER = "⟦llmclf:system⟧", "⟦llmclf:user⟧"
# The same prompt every day: the one that Llama's own template names when it is told no date.
_DATE = "26 Jul 2024"
_SAME_DAY = (
    "{% macro strftime_now(format) %}{{ format | replace('%d', '26') | replace('%m', '07')"
    " | replace('%b', 'Jul') | replace('%B', 'July') | replace('%Y', '2024') }}{% endmacro %}"
)


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, stored with the classifier: a reload asks exactly what was trained.

    Attributes:
        before: pieces before the document.
        after: pieces after it; the answer follows.
        words: what the model writes for each label, without the white space before.
        space: whether an answer's words follow a space.
    """

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    words: tuple[str, ...]
    space: bool

    @classmethod
    def render(
        cls, tokenizer: Any, config: InstructConfig, labels: LabelSpace, words: Sequence[str]
    ) -> Prompt:
        """Fill the user's prompt, or the default one, and put it into the chat template, if any.

        Args:
            tokenizer: a transformers tokenizer.
            config: prompt, system and chat.
            labels: the label space.
            words: of each label; see :func:`llmclf_core.tokens.answers.verbalize`.

        Raises:
            UserError: for a chat template that is missing, fails, or drops a turn; for a system
                turn without a chat template.
        """
        before, after = _filled(config, labels, words)
        chat = config.chat == "template" or (config.chat == "auto" and has_template(tokenizer))
        if not chat:
            return cls(*_plain(tokenizer, config, before, after), tuple(words), space=True)
        # Templates strip a turn, and a sentinel has nothing to strip.
        turns = {_SYSTEM: (config.system or "").strip(), _USER: before.lstrip()}
        head, tail = _around_user(_rendered(tokenizer, config), config)
        pieces = [(turns.get(text, text), text not in turns) for text in head]
        ending = ((after.rstrip(), False), (tail, True))
        return cls(_without_empty(pieces), _without_empty(ending), tuple(words), space=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "before": [list(piece) for piece in self.before],
            "after": [list(piece) for piece in self.after],
            "words": list(self.words),
            "space": self.space,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Prompt:
        before, after = (tuple((t, bool(s)) for t, s in data[k]) for k in ("before", "after"))
        return cls(before, after, tuple(data["words"]), bool(data["space"]))


def has_template(tokenizer: Any) -> bool:
    """Whether the model has a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def _filled(config: InstructConfig, labels: LabelSpace, words: Sequence[str]) -> tuple[str, str]:
    """The user's words before the document and after it."""
    prompt = config.prompt or (SINGLE if labels.task == "single" else MULTI)
    names = [" ".join(name.split()) for name in labels.names]
    coded = config.verbalizer in ("number", "letter")
    listed = [f"{w}: {n}" if coded else w for w, n in zip(words, names, strict=True)]
    # Split first: a label may be called {text}.
    before, after = (
        "\n".join(listed).join(half.split("{labels}")) for half in prompt.split("{text}")
    )
    return before, after


def _plain(
    tokenizer: Any, config: InstructConfig, before: str, after: str
) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    if config.system is not None:
        raise UserError(
            "instruct.system needs a chat template, and there is none or instruct.chat is plain; "
            "put its words into instruct.prompt"
        )
    bos = tokenizer.bos_token_id
    own = tokenizer.backend_tokenizer.encode("").ids[:1] == [bos] and bos is not None
    pieces = ((tokenizer.bos_token if own else "", True), (before, False))
    return _without_empty(pieces), ((after + ANSWER, False),)


def _rendered(tokenizer: Any, config: InstructConfig) -> str:
    if not has_template(tokenizer):
        raise UserError(
            "instruct.chat is template, but the model has no chat template; set it to plain or "
            "choose a chat model"
        )
    system = [] if config.system is None else [{"role": "system", "content": _SYSTEM}]
    try:
        return str(
            tokenizer.apply_chat_template(
                [*system, {"role": "user", "content": _USER}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
                chat_template=_SAME_DAY + tokenizer.get_chat_template(),
                date_string=_DATE,
            )
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        hint = "; this one may know no system turn" if system else ""
        raise UserError(
            f"the model's chat template fails: {error}{hint}; set instruct.chat: plain, or mend "
            "the template"
        ) from None


def _around_user(rendered: str, config: InstructConfig) -> tuple[list[str], str]:
    """The pieces up to the user's turn, sentinels among them, and what follows it."""
    wanted = {"user": _USER} | ({} if config.system is None else {"system": _SYSTEM})
    for turn, sentinel in wanted.items():
        if rendered.count(sentinel) != 1:
            raise UserError(
                f"the model's chat template shows the {turn}'s turn {rendered.count(sentinel)} "
                "times, not once; set instruct.chat: plain, or mend the template"
            )
    head, tail = rendered.split(_USER)
    if _SYSTEM in tail:
        raise UserError(
            "the model's chat template puts the system's turn after the user's; leave "
            "instruct.system out, or set instruct.chat: plain"
        )
    opening, *rest = head.split(_SYSTEM)
    return ([opening, _SYSTEM, *rest] if rest else [opening]) + [_USER], tail


def _without_empty(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    return tuple(piece for piece in pieces if piece[0])
