"""Housekeeping drops what is old, and never fails the training that it comes after."""

import os
import shutil

import pytest

from llmclf_core.config import TfidfConfig
from llmclf_core.steps.attempt import attempt
from llmclf_core.steps.fit_tfidf import fit_tfidf
from llmclf_core.steps.state import state_of, tidy


def aged(path):
    os.utime(path, (0, 0), follow_symlinks=False)
    return path


@pytest.fixture
def old_state(own_cache):
    """A finished training of long ago, with its lock."""
    state = state_of("old")
    (state / "checkpoint").mkdir(parents=True)
    (state / "checkpoint" / "state.json").write_text("{}")
    lock = state.with_suffix(".lock")
    lock.touch()
    aged(lock)
    return aged(state)


def test_only_what_is_old_goes(old_state):
    mine, young = state_of("mine"), state_of("young")
    for state in (mine, young):
        state.mkdir()
    (mine / "embeddings-0.npy").touch()
    aged(mine)
    tidy(mine)
    assert sorted(p.name for p in old_state.parent.iterdir()) == ["mine", "young"]
    assert not list(mine.iterdir())


def test_what_belongs_to_another_user_stays(old_state, corpus_path, tmp_path, monkeypatch):
    other = aged(shutil.copytree(old_state, state_of("other")))

    def refused(plain):
        def remove(path, *, dir_fd=None):
            place = path if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            if str(old_state) in str(place):
                raise PermissionError(13, "Permission denied", str(path))
            return plain(path, dir_fd=dir_fd)

        return remove

    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, refused(getattr(os, name)))
    output = tmp_path / "c"

    def work():
        fit_tfidf(corpus_path, TfidfConfig(), output)

    assert attempt("fit-tfidf", "tfidf", None, [corpus_path], output, work) is None
    assert (output / "classifier.json").is_file()
    assert (old_state / "checkpoint" / "state.json").is_file()
    assert not other.exists()


def test_what_vanishes_meanwhile_is_no_error(old_state, monkeypatch):
    """As when two runs tidy at once: each entry is listed, and then gone."""
    mine = state_of("mine")
    mine.mkdir()
    (old_state.parent / "gone").symlink_to("nowhere")  # stat says: no such file
    other = aged(shutil.copytree(old_state, state_of("other")))
    tidy(mine)
    assert not old_state.exists()
    assert not other.exists()


def test_cache_that_vanishes_is_no_error(own_cache):
    tidy(state_of("mine"))
