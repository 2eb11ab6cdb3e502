"""What cannot be written is named, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmclf_core.artifacts import Corpus
from llmclf_core.config import DuplicateConfig, IngestConfig
from llmclf_core.corpus import ingest
from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence, table, write_csv


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    source = write_csv(tmp_path / "d.csv", table())
    with pytest.raises(UserError, match=r"cannot write .*file/out"):
        ingest(IngestConfig(source=str(source)), tmp_path / "file" / "out")


def test_a_read_only_output_is_refused(tmp_path):
    source = write_csv(tmp_path / "d.csv", table())
    with pytest.raises(UserError, match="cannot write /proc/out"):
        ingest(IngestConfig(source=str(source)), Path("/proc/out"))


def test_a_failure_leaves_the_previous_corpus(run):
    before = run(table(), id="id")
    broken = table(20)
    broken[4]["text"] = ""
    with pytest.raises(UserError):
        run(broken, id="id")
    data = before.splits["train"].cache_files[0]["filename"]
    assert Corpus.load(Path(data).parents[1]).fingerprint == before.fingerprint


@pytest.mark.parametrize("near", [True, False])
def test_a_full_disk_is_named_and_leaves_nothing(small_disk, tmp_path, near):
    rows = [{"text": sentence(i, 200), "label": "ab"[i % 2]} for i in range(2000)]
    source = write_csv(tmp_path / "d.csv", rows)
    config = IngestConfig(source=str(source), duplicates=DuplicateConfig(near=near))
    with pytest.raises(UserError, match=r"cannot write .*the disk is full; free some space"):
        ingest(config, small_disk / "out")
    assert not list(small_disk.iterdir())
