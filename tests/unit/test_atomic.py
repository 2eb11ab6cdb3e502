"""Writing is whole or not at all: failures, kills, full disks, several writers."""

import errno
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmclf_core.artifacts import Corpus
from llmclf_core.errors import UserError
from llmclf_core.files import atomic_directory, write_json
from tests.conftest import make_corpus


def fill(path, text):
    with atomic_directory(path) as draft:
        (draft / "file").write_text(text)


def test_directory_appears_whole(tmp_path):
    path = tmp_path / "new" / "deep" / "artifact"
    with atomic_directory(path) as draft:
        (draft / "file").write_text("x")
        assert not path.exists()
    assert (path / "file").read_text() == "x"
    assert os.listdir(path.parent) == ["artifact"]


@pytest.mark.parametrize("old", ["directory", "empty", "file", "link"])
def test_directory_replaces_what_was_there(tmp_path, old):
    path, elsewhere = tmp_path / "artifact", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    if old == "file":
        path.write_text("old")
    elif old == "link":
        path.symlink_to(elsewhere)
    else:
        path.mkdir()
        if old == "directory":
            (path / "old").write_text("old")
    fill(path, "new")
    assert os.listdir(path) == ["file"]
    assert sorted(os.listdir(tmp_path)) == ["artifact", "elsewhere"]
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("error", [ValueError, UserError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_the_previous_directory(tmp_path, error):
    path = tmp_path / "artifact"
    fill(path, "old")

    def fail():
        with atomic_directory(path) as draft:
            (draft / "file").write_text("half")
            raise error("in the middle")

    with pytest.raises(error):
        fail()
    assert (path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["artifact"]


KILLED = """
import os, signal, sys
from pathlib import Path
from llmclf_core.files import atomic_directory
with atomic_directory(Path(sys.argv[1])) as draft:
    (draft / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("before", [True, False])
def test_kill_leaves_the_previous_directory_or_none(tmp_path, before):
    path = tmp_path / "artifact"
    if before:
        fill(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.exists() is before
    fill(path, "new")
    assert (path / "file").read_text() == "new"


def test_several_writers_leave_one_whole_directory(tmp_path):
    """Parallel steps may put the same thing into the cache at once; either's is right."""
    path = tmp_path / "artifact"

    def write(character):
        for _ in range(40):
            fill(path, character * 1000)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, "abcdef"))
    text = (path / "file").read_text()
    assert len(text) == 1000
    assert len(set(text)) == 1
    assert os.listdir(tmp_path) == ["artifact"]


def test_gives_up_on_a_place_that_others_keep_taking(tmp_path, monkeypatch):
    rename = os.rename

    def taken(source, target):
        if str(source).endswith(".draft"):
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        rename(source, target)

    monkeypatch.setattr(os, "rename", taken)
    with pytest.raises(UserError, match="other processes write it all the time"):
        fill(tmp_path / "artifact", "x")


def test_failed_rename_brings_the_old_directory_back(tmp_path, monkeypatch):
    rename = os.rename
    fill(tmp_path / "artifact", "old")

    def broken(source, target):
        if str(source).endswith(".draft"):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(UserError, match="Input/output error"):
        fill(tmp_path / "artifact", "new")
    assert (tmp_path / "artifact" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["artifact"]


def test_place_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/artifact: .*Not a directory"):
        fill(tmp_path / "file" / "artifact", "x")


AS_NOBODY = """
import os
from pathlib import Path
from llmclf_core.files import atomic_directory
from llmclf_core.errors import exit_on_user_error
if os.geteuid() == 0:  # root may write anywhere
    os.setuid(65534)
with exit_on_user_error(), atomic_directory(Path("/llmclf-test-artifact")):
    pass
"""


def test_place_without_permission():
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: cannot write /llmclf-test-artifact: no permission")


def test_full_disk_leaves_the_previous_corpus(small_disk):
    small = make_corpus({"train": 1, "validation": 1, "test": 1})
    small.save(small_disk / "c")
    with pytest.raises(UserError, match=r"cannot write .*/c: the disk is full; free some space"):
        make_corpus({"train": 300, "validation": 1, "test": 1}).save(small_disk / "c")
    assert Corpus.load(small_disk / "c").splits["train"]["text"] == small.splits["train"]["text"]
    assert os.listdir(small_disk) == ["c"]


def test_json_is_readable_and_replaced_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"z": "é", "a": [1, None]})
    text = path.read_text("utf-8")
    assert text.startswith('{\n  "z": "é",')
    assert text.endswith("}\n")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text("utf-8") == text
    assert os.listdir(tmp_path) == ["a.json"]


def test_json_on_a_full_disk(small_disk):
    path = small_disk / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(UserError, match=r"cannot write .*a\.json: the disk is full"):
        write_json(path, {"a": "x" * 100_000})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(small_disk) == ["a.json"]
