"""Each component's README says what its signature and docstring say."""

import importlib
import inspect

import pytest

from pipelines.docs import ROOT, example, names, readme

NAMES = names()


def test_there_is_a_readme_for_every_component_and_for_nothing_else():
    directories = {f.parent.name for f in ROOT.glob("*/__init__.py")}
    assert {f.parent.name for f in ROOT.glob("*/README.md")} == directories == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_not_stale(name):
    written = (ROOT / name / "README.md").read_text("utf-8")
    assert written == readme(name), "run `make docs`"


@pytest.mark.parametrize("name", NAMES)
def test_it_names_every_argument_and_says_what_each_is(name):
    component = getattr(importlib.import_module(f"components.{name}.component"), name)
    rows = [r.strip("| ").split(" | ") for r in readme(name).splitlines() if r.startswith("| `")]
    told = {row[0].strip("`"): row for row in rows}
    assert set(told) == set(inspect.signature(component.python_func).parameters)
    for argument, row in told.items():
        assert len(row[-1]) > 5, argument


@pytest.mark.parametrize("name", NAMES)
def test_its_example_is_a_pipeline(name):
    assert example(name) in readme(name)
    there = {}
    exec(example(name), there)
    tasks = there["example"].pipeline_spec.components
    assert f"comp-{name.replace('_', '-')}" in tasks


def test_a_component_that_changed_shows_in_its_readme(monkeypatch):
    from components.ingest.component import ingest

    before = readme("ingest")
    monkeypatch.setattr(ingest.python_func, "__doc__", ingest.python_func.__doc__ + "\n")
    assert readme("ingest") == before
    changed = ingest.python_func.__doc__.replace("The recipe's `ingest` section", "All settings")
    monkeypatch.setattr(ingest.python_func, "__doc__", changed)
    assert readme("ingest") != before
