"""Figures in the README are those of the committed result files."""

import json
import re
from pathlib import Path

import pytest

from llmclf_core.config import APPROACHES
from llmclf_core.evaluation.names import duration, title

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


FIRST, SECOND = "first", "second (steps reused)"


@pytest.mark.parametrize("approach", APPROACHES)
def test_demo_table(approach):
    measured = result("demo")["runs"][FIRST]["approaches"][approach]
    low, high = measured["interval"]
    cells = [
        title(approach),
        f"{measured['metrics']['macro_f1']:.3f} ({low:.3f} – {high:.3f})",
        f"{measured['metrics']['accuracy']:.3f}",
        f"{measured['cost']['trained_parameters'] / 1e6:.3g} M",
        duration(measured["cost"]["train_seconds"]),
        f"{measured['cost']['predict_texts_per_second']:,.1f}",
    ]
    assert any(all(cell in line for cell in cells) for line in README.splitlines()), cells


def test_demo_text():
    runs = result("demo")["runs"]
    assert runs[FIRST]["answer"] in README
    assert f"{runs[FIRST]['test_rows']} test rows" in README
    assert f"first run takes {runs[FIRST]['seconds']:.0f} s" in README
    assert f"the second {runs[SECOND]['seconds']:.0f} s" in README


def test_demo_keeps_its_promises():
    runs = result("demo")["runs"]
    assert runs[FIRST]["seconds"] <= 900
    assert runs[SECOND]["seconds"] <= 90
    assert runs[FIRST]["test_rows"] >= 400
    assert list(runs[FIRST]["approaches"]) == list(APPROACHES)
    champion = runs[FIRST]["approaches"][runs[FIRST]["champion"]]
    assert champion["metrics"]["macro_f1"] >= 0.93
    assert runs[SECOND]["classifier"] == runs[FIRST]["classifier"]


def test_ingest_figures():
    ingest = result("ingest")
    assert f"{ingest['rows']:,} rows" in README
    assert f"{ingest['peak_rss_mb']:,} MB" in README
    assert f"{ingest['rows_per_second']:,} rows/s" in README
    assert ingest["peak_rss_mb"] < ingest["target_peak_mb"]


def test_figures_of_a_large_model():
    table = (RESULTS.parent / "README.md").read_text("utf-8")
    for found in result("large")["results"]:
        cells = [
            found["approach"],
            str(found["length"]),
            f"{found['tokens_per_second']:,.0f}",
            f"{found['matmul_share']:.0%}",
            f"{found['peak_memory_gb']:.1f} GB",
        ]
        assert any(all(f"| {c} |" in line for c in cells) for line in table.splitlines()), cells
        if (found["approach"], found["length"]) == ("head", 1024):
            assert f"{found['tokens_per_second']:,.0f}" in README


def test_every_link_to_a_file_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
