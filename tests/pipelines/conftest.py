"""A small task for the whole pipeline: a CSV, a tiny base model and a recipe."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest
import yaml
from kfp.dsl import pipeline_task

from pipelines.cli import main
from tests.conftest import build_tiny_base, make_corpus
from tests.forks import forked_steps


@pytest.fixture(scope="session", autouse=True)
def quick_stacks():
    """KFP asks for its caller's name, and would get the source of every frame with it.

    Among all the modules that tests load, Python looks for that for ten seconds a compilation.
    """

    def stack():
        return [None, (None, None, None, sys._getframe(2).f_code.co_name)]

    with mock.patch.object(pipeline_task, "inspect", SimpleNamespace(stack=stack)):
        yield


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Task:
    """Files of one task.

    Attributes:
        root: everything lies below it; ``llmclf`` is called there.
        recipe: the recipe's data, written by :meth:`write`.
    """

    root: Path
    recipe: dict[str, Any]

    def write(self) -> Path:
        path = self.root / "recipe.yaml"
        path.write_text(yaml.safe_dump(self.recipe))
        return path

    def environment(self) -> dict[str, str]:
        own = {"LLMCLF_CACHE": str(self.root / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")} | own

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipelines.cli", *arguments]

    def llmclf(self, *arguments: str, **environment: str) -> Done:
        """The command in this process, its steps in forks: imports are paid for once."""
        out, err = io.StringIO(), io.StringIO()
        handlers = logging.getLogger().handlers[:]
        try:
            with (
                contextlib.chdir(self.root),
                mock.patch.dict(os.environ, self.environment() | environment),
                mock.patch.object(sys, "argv", ["llmclf", *arguments]),
                forked_steps(),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            logging.getLogger().handlers[:] = handlers
        return Done(code, out.getvalue(), err.getvalue())


def write_task(root: Path, rows_per_label: int = 40) -> Task:
    build_tiny_base(root / "base")
    corpus = make_corpus({"train": rows_per_label})
    with (root / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in corpus.splits["train"]:
            writer.writerow([row["text"], corpus.labels.names[row["labels"][0]]])
    recipe = {
        "name": "tiny",
        "ingest": {"source": "data.csv", "duplicates": {"near": False}},
        "approaches": ["head"],
        "base": {"source": str(root / "base")},
        "tokenize": {"max_length": 64},
        "lora": {"rank": 4},
        "head": {"pooling": "mean", "init": "frozen"},
        "training": {"epochs": 2, "learning_rate": 2e-3, "checkpoint_seconds": 0},
        "evaluate": {"bootstrap": 200},
    }
    return Task(root, recipe)


@pytest.fixture
def task(tmp_path) -> Task:
    return write_task(tmp_path)
