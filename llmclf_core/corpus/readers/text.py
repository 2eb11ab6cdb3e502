"""Bytes to clean UTF-8: decoding with a place for every bad byte, refused or replaced."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llmclf_core.corpus.readers.base import Part
from llmclf_core.errors import UserError

_BLOCK = 1 << 20


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
def explain_read_errors(path: Path) -> Iterator[None]:
    """Re-raise the ``OSError`` of a failed read as a UserError that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


class Utf8Stream(io.RawIOBase):
    """The text of a file as UTF-8 bytes, whatever its encoding.

    Raises:
        UserError: on reading a byte that is not valid, unless ``bad_bytes: replace``.
    """

    def __init__(self, path: Path, part: Part) -> None:
        self._path, self._part = path, part
        self._encoding = codec(part.config.encoding)
        self._text = self._open("replace" if part.config.bad_bytes == "replace" else "strict")
        self._clean = self._open("ignore") if part.config.bad_bytes == "replace" else None
        self._bad = 0
        self._left = b""

    def _open(self, errors: str) -> IO[str]:
        with explain_read_errors(self._path):
            return self._path.open(encoding=self._encoding, errors=errors, newline="")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; 0 at the end."""
        if not self._left:
            self._left = self._next().encode()
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def _next(self) -> str:
        try:
            with explain_read_errors(self._path):
                text = self._text.read(_BLOCK)
        except UnicodeDecodeError:
            raise bad_byte(self._path, self._encoding) from None
        # Counted against a second reading without the bad bytes: the file may well hold U+FFFD.
        self._bad += text.count("\ufffd")
        if self._clean:
            self._bad -= self._clean.read(_BLOCK).count("\ufffd")
        return text

    def close(self) -> None:
        if not self.closed:
            if self._clean:
                self._bad -= sum(t.count("\ufffd") for t in iter(lambda: self._tail(), ""))
                self._clean.close()
                self._part.note_replaced(str(self._path), self._bad)
            self._text.close()
        super().close()

    def _tail(self) -> str:
        return self._clean.read(_BLOCK) if self._clean and self._text.read(1) == "" else ""


def lines(path: Path, part: Part) -> Iterator[str]:
    """The lines of a text file, decoded, with their line ends."""
    with Utf8Stream(path, part) as stream:
        yield from io.TextIOWrapper(io.BufferedReader(stream, _BLOCK), "utf-8", newline="\n")


def whole(path: Path, part: Part) -> str:
    """All of a (small) text file, with ``\\r\\n`` as ``\\n``.

    Raises:
        UserError: when it cannot be read, or has a bad byte that may not be replaced.
    """
    encoding = codec(part.config.encoding)
    with explain_read_errors(path):
        data = path.read_bytes()
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if part.config.bad_bytes == "error":
            raise bad_byte(path, encoding) from None
        text = data.decode(encoding, "replace")
        genuine = data.decode(encoding, "ignore").count("\ufffd")
        part.note_replaced(str(path), text.count("\ufffd") - genuine)
    return text.replace("\r\n", "\n")


def bad_byte(path: Path, encoding: str) -> UserError:
    """The message for the first byte of a file that is not valid in its encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line = 0, 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state = decoder.getstate()
            try:
                line += decoder.decode(block).count("\n")
                offset += len(block)
            except UnicodeDecodeError:
                decoder.setstate(state)
                offset, line = _step(decoder, block, offset, line)
                break
    name = encoding.removesuffix("-sig")
    return UserError(
        f"{path}: line {line}, byte {offset} is not valid {name}; set `encoding:` to the file's "
        "encoding (latin-1, cp1252, …) or `bad_bytes: replace` to read it with U+FFFD there"
    )


def _step(
    decoder: codecs.IncrementalDecoder, block: bytes, offset: int, line: int
) -> tuple[int, int]:
    for i in range(len(block)):
        try:
            line += decoder.decode(block[i : i + 1]).count("\n")
        except UnicodeDecodeError:
            return offset + i, line
    return offset + len(block), line
