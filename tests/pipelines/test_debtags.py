"""The multi-label corpus of package descriptions, from a small index of our own."""

import json
from pathlib import Path

import pytest

from llmclf_core.errors import UserError
from pipelines import debtags
from tests.conftest import missing_service

PACKAGES = """Package: chess
Source: games (1.2)
Description-md5: aa
Tag: field::gaming, use::gameplaying,
 implemented-in::c, use::TODO

Package: chess-data
Source: games
Description-md5: aa
Tag: use::storing

Package: editor
Description-md5: bb
Tag: use::editing, works-with::text

Package: untagged
Description-md5: bb

Package: undescribed
Description-md5: cc
Tag: use::editing
"""
TRANSLATION = """Package: chess
Description-md5: aa
Description-en: play chess
 A game for two.
 .
 It has pieces.

Package: editor
Description-md5: bb
Description-en: edit texts
"""


@pytest.fixture
def lists(tmp_path):
    if not Path("/usr/lib/apt/apt-helper").exists():
        missing_service("no Debian system: apt-helper is missing")
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "here_Packages").write_text(PACKAGES)
    (folder / "here_Translation-en").write_text(TRANSLATION)
    return folder


def test_one_package_a_source_with_its_description_and_its_tags(lists):
    text = "play chess\nA game for two.\n\nIt has pieces."
    assert debtags._tagged(lists) == [
        ("chess", text, {"field::gaming", "use::gameplaying"}),
        ("editor", "edit texts", {"use::editing", "works-with::text"}),
    ]


def test_an_index_without_tags_says_so(lists):
    (lists / "here_Packages").write_text("Package: a\nDescription-md5: aa\n")
    with pytest.raises(UserError, match="no tagged package in Debian's index"):
        debtags._tagged(lists)


def test_only_frequent_labels_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(debtags, "MIN_ROWS", 2)
    rows = [("a", "x", {"use::one", "use::two"}), ("b", "y", {"use::one"}), ("c", "z", {"use::no"})]
    debtags._write(rows, 5, tmp_path / "rows.jsonl")
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert written == [
        {"id": "a", "text": "x", "labels": ["use::one"]},
        {"id": "b", "text": "y", "labels": ["use::one"]},
    ]


def test_no_debian_system(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs apt-get"):
        debtags.make(tmp_path)
