"""Bytes to clean text: every byte that is not valid has its place, refused or replaced."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmclf_core.corpus.readers.base import Part
from llmclf_core.errors import UserError

_BLOCK = 1 << 20
# What the surrogateescape error handler leaves of a bad byte; no valid text holds these.
_BAD_BYTE = re.compile("[\udc80-\udcff]")


def codec(encoding: str) -> str:
    """Python's name of an encoding; UTF-8 drops a byte-order mark.

    Raises:
        UserError: for an unknown encoding.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise UserError(
            f"unknown encoding {encoding!r}; try utf-8, latin-1, cp1252 or utf-16"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


@contextmanager
def explain_read_errors(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Re-raise a failed read or decoding as a UserError that names the file and the place."""
    try:
        yield
    except UnicodeDecodeError:
        raise bad_byte(path, encoding) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


class Utf8Stream(io.RawIOBase):
    """The text of a file as UTF-8 bytes, whatever its encoding.

    Raises:
        UserError: when it cannot be read, or reading meets a byte that is not valid in
            ``encoding`` and may not be replaced.
    """

    def __init__(self, path: Path, part: Part) -> None:
        self._path, self._part = path, part
        self._encoding, self._errors = codec(part.config.encoding), _errors(part)
        self._left = b""
        self._bad_bytes = 0
        with explain_read_errors(path):
            self._text = path.open(encoding=self._encoding, errors=self._errors, newline="")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; 0 at the end."""
        if not self._left:
            with explain_read_errors(self._path, self._encoding):
                text = self._text.read(_BLOCK)
            text, bad = _BAD_BYTE.subn("\ufffd", text)
            self._bad_bytes += bad
            self._left = text.encode()
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        if self._bad_bytes:
            # Set, not added: the header of a CSV file is read twice.
            self._part.replaced[str(self._path)] = self._bad_bytes
        self._text.close()
        super().close()


def lines(path: Path, part: Part) -> Generator[str]:
    """The lines of a text file, decoded, with their line ends."""
    with Utf8Stream(path, part) as stream:
        buffered = io.BufferedReader(stream, _BLOCK)
        yield from io.TextIOWrapper(buffered, "utf-8", newline="\n")


def whole(path: Path, part: Part) -> str:
    """All of a (small) text file, with ``\\r\\n`` as ``\\n``.

    Raises:
        UserError: when it cannot be read, or has a bad byte that may not be replaced.
    """
    encoding = codec(part.config.encoding)
    with explain_read_errors(path, encoding):
        text = path.read_bytes().decode(encoding, _errors(part))
    text, bad = _BAD_BYTE.subn("\ufffd", text)
    part.note_replaced(str(path), bad)
    return text.replace("\r\n", "\n")


def _errors(part: Part) -> str:
    return "surrogateescape" if part.config.bad_bytes == "replace" else "strict"


def bad_byte(path: Path, encoding: str) -> UserError:
    """The message for the first byte of a file that is not valid in its encoding."""
    # With -sig, Python counts from behind the byte-order mark.
    encoding = encoding.removesuffix("-sig")
    offset, line = _first_bad_byte(path, encoding)
    return UserError(
        f"{path}: line {line}, byte {offset} is not valid {encoding}; set "
        "`encoding:` to the file's encoding (latin-1, cp1252, …) or `bad_bytes: replace` to read "
        "it with U+FFFD there"
    )


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int]:
    """Its offset from 0, and its line from 1; the end of a file that stops amid a character."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line = 0, 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state = decoder.getstate()
            try:
                line += decoder.decode(block).count("\n")
            except UnicodeDecodeError as error:
                # The decoder may have kept the start of a character from the block before.
                good = error.start - len(state[0])
                decoder.setstate(state)
                return offset + good, line + decoder.decode(block[: max(0, good)]).count("\n")
            offset += len(block)
    return offset - len(decoder.getstate()[0]), line
