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


def test_the_environment_of_steps_is_ours_only(monkeypatch):
    passed = {"MLFLOW_TRACKING_URI": "a", "HF_TOKEN": "b", "AWS_SECRET_ACCESS_KEY": "c"}
    kept = {"AWS_CA_BUNDLE": "/here", "SSL_CERT_FILE": "/here", "SECRET_OF_MINE": "d"}
    for name, value in (passed | kept).items():
        monkeypatch.setenv(name, value)
    found = containers._passed_on()
    assert found.items() >= passed.items()
    assert not {*kept, "PATH", "HOME"} & set(found)


def test_root_hands_its_files_over_and_others_do_not(tmp_path):
    (tmp_path / "run" / "artifacts").mkdir(parents=True)
    (tmp_path / "run" / "log.txt").write_text("x")
    (tmp_path / "run" / "elsewhere").symlink_to("/etc")
    mounts.hand_over(tmp_path / "run")
    owners = {p.lstat().st_uid for p in [tmp_path / "run", *(tmp_path / "run").rglob("*")]}
    assert owners == ({os.getuid()} if os.getuid() else {mounts.IMAGE_USER})
    assert os.stat("/etc").st_uid == 0
    assert mounts.owner()[0] != 0


def test_what_only_root_may_read_is_named_before_anything_runs(tmp_path, monkeypatch):
    model = tmp_path / "base" / "model.safetensors"
    model.parent.mkdir()
    model.write_text("weights")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    model.chmod(0o644)
    mounts.require_readable([tmp_path / "base", tmp_path / "missing"])
    model.chmod(0o600)
    for place in (model, tmp_path / "base"):
        with pytest.raises(UserError, match=f"10001, who may not read {model}: allow it"):
            mounts.require_readable([place])
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
        ("sqlite:////data/runs/mlflow.db", True),
        ("sqlite:////data/mlflow.db", False),
        ("file:///elsewhere/mlruns", False),
        ("/elsewhere/mlruns", False),
        ("./mlruns", False),
        ("databricks", True),
    ],
)
def test_a_store_must_be_where_containers_see_it(monkeypatch, uri, reached):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    if reached:
        runners._require_store_in(Path("/data/runs"))
    else:
        with pytest.raises(UserError, match="cannot reach the MLflow store"):
            runners._require_store_in(Path("/data/runs"))
