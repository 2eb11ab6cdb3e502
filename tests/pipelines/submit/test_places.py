"""What the steps on a cluster can read, and what pins it."""

import os

import pytest

from llmclf_core.config import parse_recipe
from llmclf_core.corpus.sources import parts
from llmclf_core.errors import UserError
from pipelines.kubeflow import sources
from pipelines.kubeflow.sources import check_places, is_pinned, versions


def recipe(source="acme/reviews", base="Qwen/Qwen3-0.6B", approaches=("head", "encoder"), **ingest):
    data = {
        "name": "tiny",
        "ingest": {"source": source} | ingest,
        "base": {"source": base},
        "approaches": list(approaches),
        "encoder": {"base": {"source": "acme/bert"}},
    }
    return parse_recipe(data, {}, "test")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        "acme/reviews",
        "imdb",
        "/cache/data.csv",
        "/cache",
        "${LLMCLF_CACHE}/assets/bbc",
        "$LLMCLF_CACHE/assets/bbc",
        "/data/a.csv",
        {"train": "/cache/a.csv", "test": "/data/b.csv"},
    ],
)
def test_a_cluster_can_read(place):
    check_places(recipe(place), ["/data"])


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("data.csv", "ingest.source: data.csv"),
        ("data/patents.csv", "ingest.source: data/patents.csv"),
        ("./data", "ingest.source: ./data"),
        ("../acme/reviews", "ingest.source: ../acme/reviews"),
        ("~/data.csv", "ingest.source: ~/data.csv"),
        ("$HOME/data.csv", "ingest.source: $HOME/data.csv"),
        ("/cache/$TEAM/data.csv", "ingest.source: /cache/$TEAM/data.csv"),
        ("/cache/../home/data.csv", "ingest.source: /cache/../home/data.csv"),
        ("/cached/data.csv", "ingest.source: /cached/data.csv"),
        ("/data2/a.csv", "ingest.source: /data2/a.csv"),
        ({"train": "/cache/a.csv", "test": "b.csv"}, "ingest.source.test: b.csv"),
        ("s3://bucket/a.parquet", "ingest.source: s3://bucket/a.parquet"),
        ("https://example.org/a.csv", "ingest.source: https://example.org/a.csv"),
        ("hf://datasets/acme/reviews", "ingest.source: hf://datasets/acme/reviews"),
    ],
)
def test_a_cluster_cannot_read(place, named):
    with pytest.raises(UserError) as caught:
        check_places(recipe(place), ["/data"])
    assert f"cannot read {named}. " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "format"),
    [
        ("acme/reviews", "auto"),
        ("acme/reviews", "hub"),
        ("acme/reviews.csv", "hub"),
        ("{cache}/data.csv", "auto"),
        ("{cache}/data.csv", "csv"),
        ("{cache}", "auto"),
        ("${{LLMCLF_CACHE}}/data.csv", "auto"),
        ("$LLMCLF_CACHE/data.csv", "csv"),
        ("{mounted}/data.csv", "auto"),
    ],
)
def test_what_is_accepted_ingest_finds(tmp_path, monkeypatch, place, format):
    cache, mounted = tmp_path / "cache", tmp_path / "mounted"
    for directory in (cache, mounted):
        directory.mkdir()
        (directory / "data.csv").write_text("text,label\n")
    monkeypatch.setattr(sources, "CACHE", str(cache))
    monkeypatch.setenv("LLMCLF_CACHE", str(cache))
    mine = recipe(place.format(cache=cache, mounted=mounted), format=format)
    check_places(mine, [str(mounted)])
    (part,) = parts(mine.ingest)
    assert part.paths == () if format == "hub" or "acme" in place else part.paths[0].is_file()


@pytest.mark.parametrize(
    ("place", "format"),
    [
        ("acme/reviews", "csv"),
        ("s3://bucket/a", "hub"),
        ("./data", "hub"),
        ("$LLMCLF_CACHE/a", "hub"),
        ("s3://bucket/a", "parquet"),
    ],
)
def test_a_format_tells_what_a_place_is(place, format):
    with pytest.raises(UserError, match=r"cannot read ingest\.source"):
        check_places(recipe(place, format=format))


def test_a_directory_here_is_no_hub_id(tmp_path):
    (tmp_path / "Qwen" / "Qwen3-0.6B").mkdir(parents=True)
    with pytest.raises(UserError, match=r"base\.source: Qwen/Qwen3-0\.6B"):
        check_places(recipe())


def test_models_of_approaches_that_do_not_run_are_not_asked_for():
    check_places(recipe(base="model.gguf", approaches=["tfidf", "encoder"]))
    with pytest.raises(UserError, match=r"base\.source: model\.gguf"):
        check_places(recipe(base="model.gguf", approaches=["probe"]))


def test_files_that_are_the_clusters_and_visible_here_pin_the_run(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(sources, "CACHE", str(cache))
    monkeypatch.setenv("LLMCLF_CACHE", str(cache))
    mine = recipe("${LLMCLF_CACHE}/data.csv")
    assert versions(mine) == {"source_version": "", "base_version": "", "encoder_version": ""}
    assert not is_pinned(mine, versions(mine))
    (cache / "data.csv").write_text("text,label\n")
    first = versions(mine)
    assert first["source_version"]
    assert is_pinned(mine, first)
    os.utime(cache / "data.csv", (1, 1))
    assert versions(mine)["source_version"] != first["source_version"]
    assert versions(mine)["base_version"] == ""


def test_files_of_this_machine_only_pin_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCLF_CACHE", str(tmp_path))
    (tmp_path / "data.csv").write_text("text,label\n")
    assert versions(recipe("${LLMCLF_CACHE}/data.csv"))["source_version"] == ""


def test_a_revision_pins_a_data_set_of_the_hub():
    mine = recipe(revision="a1")
    assert is_pinned(mine, versions(mine))
