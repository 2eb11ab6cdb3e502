import hashlib
from pathlib import Path

from llmclf_core.paths import cache_dir, expand, file_sha256, fingerprint


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("LLMCLF_CACHE", "")
    assert cache_dir() == Path.home() / ".cache" / "llmclf"
    monkeypatch.delenv("LLMCLF_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "llmclf"


def test_expand(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS", "/models")
    assert expand("~/a") == tmp_path / "a"
    assert expand("${MODELS}/a") == Path("/models/a")
    assert expand("$MODELS/a") == Path("/models/a")
    assert expand("plain/a") == Path("plain/a")
    monkeypatch.delenv("LLMCLF_CACHE")
    assert expand("${LLMCLF_CACHE}/a") == tmp_path / ".cache" / "llmclf" / "a"
    monkeypatch.setenv("LLMCLF_CACHE", "/cache")
    assert expand("${LLMCLF_CACHE}/a") == Path("/cache/a")


def test_fingerprints_tell_content_apart():
    parts = [("a", "b"), ("ab",), ("b", "a"), (1,), ("1",), (None,), ({"a": 1},), ({"a": 2},), ()]
    prints = [fingerprint(*p) for p in parts]
    assert len(set(prints)) == len(parts)
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "é": [2, None]}) == fingerprint({"é": [2, None], "a": 1})


def test_fingerprint_is_the_same_in_every_process():
    """The first half of what ``printf '["a", 1]' | sha256sum`` prints."""
    assert fingerprint("a", 1) == "2657442bb4a48d62"


def test_file_hash(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "f") == expected
    (tmp_path / "g").write_bytes(b"a" * 1_000_000 * 3)  # more than one chunk
    assert file_sha256(tmp_path / "g") == hashlib.sha256(b"a" * 3_000_000).hexdigest()
