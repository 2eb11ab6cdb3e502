"""Texts as they come from users."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmclf_core.errors import UserError

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean_texts(texts: Sequence[str]) -> list[str]:
    """The same texts; lone surrogates, which no UTF-8 can express, become U+FFFD.

    Raises:
        UserError: for something that is not a list of strings.
    """
    if isinstance(texts, str):
        raise UserError("one text was given where a list of texts was expected")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"text {i} is not a string but {type(text).__name__}: {text!r:.100}")
    return [_SURROGATE.sub("\ufffd", text) for text in texts]
