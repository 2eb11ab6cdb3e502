"""The place of a bad byte, and reading in blocks."""

from __future__ import annotations

import random

import pytest

from llmclf_core.config import IngestConfig
from llmclf_core.corpus.readers import text
from llmclf_core.corpus.readers.base import Part

SAMPLES = ["plain\nline", "é\nü ß", "漢字\nかな", "\U0001f600\n"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "utf-16-le", "shift_jis"])
def test_the_first_bad_byte_is_where_decoding_at_once_finds_it(encoding, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_BLOCK", 5)
    rng = random.Random(1)
    refused = 0
    for _ in range(300):
        data = "".join(rng.choices(SAMPLES, k=3)).encode(encoding, "ignore")
        at = rng.randrange(len(data))
        data = data[:at] + bytes(rng.choices(range(128, 256), k=2)) + data[at + 1 :]
        (tmp_path / "f").write_bytes(data)
        start = _first_bad_byte(data, encoding)
        if start is not None:
            refused += 1
            line = data[:start].decode(encoding).count("\n") + 1
            assert text._first_bad_byte(tmp_path / "f", encoding) == (start, line)
    assert refused > 50


def _first_bad_byte(data: bytes, encoding: str) -> int | None:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return None


def test_a_byte_order_mark_counts_as_bytes_of_the_file(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfab\n\xff")
    assert "line 2, byte 6 is not valid utf-8;" in str(text.bad_byte(tmp_path / "f", "utf-8-sig"))


def test_lines_are_decoded_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_BLOCK", 3)
    content = "é漢字\n\U0001f600 a\r\nb\n" * 20
    (tmp_path / "f").write_text(content, "utf-16", newline="")
    part = Part("f", (), "jsonl", None, IngestConfig(source="f", encoding="utf-16"))
    assert "".join(text.lines(tmp_path / "f", part)) == content
    assert text.whole(tmp_path / "f", part) == content.replace("\r\n", "\n")
