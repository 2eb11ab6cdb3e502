"""Figures in the README are those of the committed result files."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("run", ["first", "second (steps reused)", "nf4"])
def test_demo_table(run):
    measured = result("demo")["runs"][run]
    low, high = measured["macro_f1_interval"]
    cells = [
        f"{measured['metrics']['macro_f1']:.3f} ({low:.3f} – {high:.3f})",
        f"{measured['metrics']['accuracy']:.3f}",
        f"{measured['seconds']:.0f} s",
    ]
    assert any(all(cell in line for cell in cells) for line in README.splitlines()), cells


def test_demo_keeps_its_promises():
    runs = result("demo")["runs"]
    assert runs["first"]["seconds"] <= 600
    assert runs["second (steps reused)"]["seconds"] <= 90
    assert runs["first"]["test_rows"] >= 400
    assert all(run["metrics"]["macro_f1"] >= 0.93 for run in runs.values())
    assert runs["second (steps reused)"]["classifier"] == runs["first"]["classifier"]


def test_ingest_figures():
    ingest = result("ingest")
    assert f"{ingest['rows']:,} rows" in README
    assert f"{ingest['peak_rss_mb']:,} MB" in README
    assert f"{ingest['rows_per_second']:,} rows/s" in README
    assert ingest["peak_rss_mb"] < ingest["target_peak_mb"]


def test_every_link_to_a_file_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
