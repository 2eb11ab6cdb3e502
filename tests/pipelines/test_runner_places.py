"""What containers are given of this machine; no daemon is needed to tell."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmclf_core.config import parse_recipe
from llmclf_core.errors import UserError
from pipelines import containers, mounts, runners


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\ntw", b"o"], ["one", "two"]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"\xff\n"], ["\ufffd"]),
        ([], []),
    ],
)
def test_pieces_of_the_daemon_become_lines(pieces, lines):
    container = SimpleNamespace(logs=lambda **_: iter(pieces))
    assert list(containers._lines(container)) == lines


def test_mounts_are_read_only_unless_written_to(tmp_path):
    for name in ("runs", "base"):
        (tmp_path / name).mkdir()
    (tmp_path / "data.csv").write_text("x")
    readable = [tmp_path / "data.csv", tmp_path / "base", tmp_path / "runs", tmp_path / "org/model"]
    found = mounts.mounts([tmp_path / "runs"], readable)
    assert {(m["Target"], m["ReadOnly"] or False) for m in found} == {
        (str(tmp_path / "runs"), False),
        (str(tmp_path / "base"), True),
        (str(tmp_path / "data.csv"), True),
    }
    assert all(m["Source"] == m["Target"] for m in found)


def test_links_of_a_model_lead_somewhere(tmp_path):
    """The hub's cache keeps a model as links into a directory beside it."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_text("weights")
    model = tmp_path / "snapshots" / "main"
    model.mkdir(parents=True)
    (model / "model.safetensors").symlink_to("../../blobs/abc")
    targets = {m["Target"] for m in mounts.mounts([], [model])}
    assert targets == {str(model), str(tmp_path / "blobs" / "abc")}


def test_links_lead_somewhere_behind_a_link(tmp_path):
    """In a container no part of a path is a link, and ``..`` of a link there is another place."""
    (tmp_path / "disk" / "blobs").mkdir(parents=True)
    (tmp_path / "disk" / "blobs" / "abc").write_text("weights")
    model = tmp_path / "disk" / "snapshots" / "main"
    model.mkdir(parents=True)
    (model / "model.safetensors").symlink_to("../../blobs/abc")
    (model / "alias.safetensors").symlink_to("model.safetensors")
    (tmp_path / "hub").symlink_to("disk")
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "deep" / "current").symlink_to(model)
    blob = str(tmp_path / "disk" / "blobs" / "abc")
    for place, seen in [
        (tmp_path / "hub" / "snapshots" / "main", tmp_path / "hub" / "blobs" / "abc"),
        (tmp_path / "here" / "deep" / "current", tmp_path / "here" / "blobs" / "abc"),
    ]:
        found = {m["Target"]: m["Source"] for m in mounts.mounts([], [place])}
        assert found == {str(place): str(place), str(seen): blob}


def test_root_hands_its_files_over_and_others_do_not(tmp_path, monkeypatch):
    monkeypatch.delenv("SUDO_UID", raising=False)
    (tmp_path / "run" / "artifacts").mkdir(parents=True)
    (tmp_path / "run" / "log.txt").write_text("x")
    (tmp_path / "run" / "elsewhere").symlink_to("/etc")
    mounts.hand_over(tmp_path / "run")
    assert owners(tmp_path / "run") == {os.getuid() or mounts.IMAGE_USER}
    assert os.stat("/etc").st_uid == 0
    assert mounts.owner()[0] != 0


def test_behind_sudo_the_steps_are_whoever_called_it(tmp_path, monkeypatch):
    """A folder that was used before, without sudo, and one that root's steps have used."""
    monkeypatch.setenv("SUDO_UID", "4321")
    monkeypatch.setenv("SUDO_GID", "0")
    for name in ("roots", "steps", "callers", "others"):
        (tmp_path / name).write_text("x")
    if os.getuid():
        assert mounts.owner() == (os.getuid(), os.getgid())
        return
    assert mounts.owner() == (4321, mounts.IMAGE_USER)
    ids = {"roots": 0, "steps": mounts.IMAGE_USER, "callers": 4321, "others": 77}
    for name, number in ids.items():
        os.chown(tmp_path / name, number, number)
    mounts.hand_over(tmp_path)
    found = {name: (tmp_path / name).stat().st_uid for name in ids}
    assert found == {"roots": 4321, "steps": 4321, "callers": 4321, "others": 77}
    monkeypatch.setenv("SUDO_UID", "0")
    assert mounts.owner() == (mounts.IMAGE_USER, mounts.IMAGE_USER)


def owners(place):
    return {p.lstat().st_uid for p in [place, *place.rglob("*")]}


def test_what_only_root_may_read_is_named_before_anything_runs(tmp_path, monkeypatch):
    model = tmp_path / "base" / "model.safetensors"
    model.parent.mkdir()
    model.write_text("weights")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    model.parent.chmod(0o755)
    model.chmod(0o644)
    mounts.require_readable([tmp_path / "base", tmp_path / "missing"])
    model.chmod(0o600)
    for place in (model, tmp_path / "base"):
        with pytest.raises(UserError, match=rf"10001, who may not read {model}: .*\(chmod o\+r\)"):
            mounts.require_readable([place])
    monkeypatch.setattr(mounts, "owner", lambda: (10001, model.stat().st_gid))
    model.chmod(0o640)
    mounts.require_readable([model])
    model.parent.chmod(0o740)
    with pytest.raises(UserError, match=rf"not read {model.parent}: .*\(chmod o\+rx\)"):
        mounts.require_readable([model.parent])
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    mounts.require_readable([model])


def recipe(**given):
    data = {"name": "a", "ingest": {"source": "a.csv"}, "base": {"source": "x/y"}}
    return parse_recipe(data, given, "test")


def test_places_of_this_shell_are_spelled_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("DATA", "/data")
    given = {"ingest.source": {"train": "~/a.csv", "test": "$DATA/b.csv"}}
    given |= {"base.source": "${LLMCLF_CACHE}/model", "encoder.base.source": "~/bert"}
    found = runners.expanded(recipe(**given))
    assert found.ingest.source == {"train": "/home/somebody/a.csv", "test": "/data/b.csv"}
    assert found.base.source == "${LLMCLF_CACHE}/model"
    assert found.encoder.base.source == "/home/somebody/bert"
    assert runners.expanded(recipe()) == recipe()


@pytest.mark.parametrize(
    ("uri", "reached"),
    [
        ("http://localhost:5000", True),
        ("postgresql+psycopg2://db/mlflow", True),
        ("sqlite:///{data}/runs/mlflow.db", True),
        ("sqlite:///runs/mlflow.db", True),  # containers have the same working directory
        ("sqlite:///{data}/mlflow.db", False),
        ("sqlite:///mlflow.db", False),
        ("sqlite:///runs/../mlflow.db", False),
        ("file:///elsewhere/mlruns", False),
        ("/elsewhere/mlruns", False),
        ("./mlruns", False),
        ("mlruns", False),
        ("runs/mlruns", True),
        ("databricks", True),
    ],
)
def test_a_store_must_be_where_containers_see_it(monkeypatch, tmp_path, uri, reached):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(data=tmp_path))
    monkeypatch.chdir(tmp_path)
    if reached:
        runners._require_store_in(tmp_path / "runs")
    else:
        with pytest.raises(UserError, match="cannot reach the MLflow store"):
            runners._require_store_in(tmp_path / "runs")


def test_a_colon_in_the_runs_directory_is_refused_before_anything_is_asked():
    with pytest.raises(UserError, match=r"docker cannot mount /data/a:b/runs, for the colon"):
        runners.steps_image(Path("/data/a:b/runs"))
