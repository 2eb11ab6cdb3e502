"""Small rows for both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.fast.prepare import write_work
from benchmarks.fast.work import Settings, Work, resolved
from benchmarks.reference.recipe import Recipe
from benchmarks.reference.rows import Row, Rows
from tests.conftest import make_corpus

TINY = resolved(
    Settings(
        train=24,
        validation=6,
        max_length=256,
        precision="fp32",
        batch=4,
        ours_batch=2,
        reference_batch=2,
        repetitions=2,
    ),
    native=False,
)


@pytest.fixture(scope="session")
def tiny_work(tiny_base, tmp_path_factory):
    """Makes the work of a size, on a corpus of three labels."""
    root = tmp_path_factory.mktemp("bench")

    def make(task="single", **changed):
        settings = replace(TINY, **changed)
        name = "-".join([task, *(f"{k}={v}" for k, v in changed.items())])
        scratch = tmp_path_factory.mktemp("scratch")
        work = Work(settings, tiny_base, root / name, scratch)
        if not work.place.exists():
            write_work(make_corpus({"train": 10, "validation": 3, "test": 1}, task), work)
        return work

    return make


@pytest.fixture
def recipe(tiny_base):
    """One step of four rows, without chance."""
    return Recipe(
        base=tiny_base,
        precision="fp32",
        dtype="float32",
        epochs=1,
        batch_size=2,
        accumulation=2,
        max_length=64,
        dropout=0.0,
    )


@pytest.fixture
def rows():
    texts = {"sport": "the team had a goal in the match", "music": "a song of the band"}
    train = [Row(text * n, [label]) for n in (1, 2) for label, text in texts.items()]
    return Rows(["money", "music", "sport"], train, train[:2])
