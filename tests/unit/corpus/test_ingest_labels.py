"""Four layouts of labels, one result."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from llmclf_core.artifacts import SPLITS
from tests.unit.corpus.conftest import sentence

SETS = [["a"], ["a", "b"], ["b", "c"], [], ["c"], ["a", "b", "c"]]
ROWS = [{"id": f"r{i}", "text": sentence(i), "of": SETS[i % len(SETS)]} for i in range(60)]


def _labels(corpus) -> dict[str, list[str]]:
    return {
        row["id"]: corpus.labels.decode(row["labels"])
        for split in SPLITS
        for row in corpus.splits[split]
    }


EXPECTED = {row["id"]: row["of"] for row in ROWS}
MULTI = {"columns": ["of"], "task": "multi"}


@pytest.mark.parametrize("write", [json.dumps, str], ids=["json", "pandas"])
def test_lists_in_csv(run, write):
    rows = [row | {"of": write(row["of"])} for row in ROWS]
    assert _labels(run(rows, id="id", labels=MULTI | {"layout": "list"})) == EXPECTED


def test_lists_in_jsonl_and_parquet(run, tmp_path):
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    settings = {"id": "id", "labels": MULTI | {"layout": "list"}}
    assert _labels(run(tmp_path / "d.jsonl", **settings)) == EXPECTED
    assert _labels(run(tmp_path / "d.parquet", **settings)) == EXPECTED


def test_a_scalar_among_lists_is_a_list_of_one(run, tmp_path):
    rows = [row | {"of": row["of"][0] if len(row["of"]) == 1 else row["of"]} for row in ROWS]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = run(tmp_path / "d.jsonl", id="id", labels=MULTI | {"layout": "list"})
    assert _labels(corpus) == EXPECTED


def test_a_delimited_string_with_spaces_and_repeats(run):
    rows = [row | {"of": " | ".join([*row["of"], *row["of"][:1], " "])} for row in ROWS]
    corpus = run(rows, id="id", labels=MULTI | {"layout": "delimited", "delimiter": "|"})
    assert _labels(corpus) == EXPECTED
    assert corpus.labels.task == "multi"


@pytest.mark.parametrize("yes", ["1", "1.0", "True", " 1 "])
def test_indicator_columns_keep_their_order(run, yes):
    rows = [
        {"id": r["id"], "text": r["text"]} | {n: yes if n in r["of"] else "0" for n in "cab"}
        for r in ROWS
    ]
    labels = {"columns": ["c", "a", "b"], "layout": "indicators", "task": "multi"}
    corpus = run(rows, id="id", labels=labels)
    assert corpus.labels.names == ("c", "a", "b")
    assert {i: sorted(names) for i, names in _labels(corpus).items()} == EXPECTED
    named = run(rows, id="id", labels=labels | {"names": ["a", "b", "c"]})
    assert named.labels.names == ("a", "b", "c")
    assert _labels(named) == EXPECTED


def test_one_column_may_have_no_label_when_multi(run):
    rows = [{"id": f"r{i}", "text": sentence(i), "of": ["a", " b ", ""][i % 3]} for i in range(30)]
    labels = _labels(run(rows, id="id", labels=MULTI))
    assert labels == {f"r{i}": [["a"], ["b"], []][i % 3] for i in range(30)}


def test_names_give_the_order(run):
    rows = [{"text": sentence(i), "label": "ab"[i % 2]} for i in range(20)]
    assert run(rows, labels={"names": ["b", "a"]}).labels.names == ("b", "a")


def test_the_patent_table_with_fourteen_indicator_columns(run):
    """Title, first claim and abstract, one 0/1 column a label, publication number as id."""
    names = [f"L{i}" for i in range(14)]
    rows = [
        {"Publication Number": f"US{i}", "title": sentence(("t", i), 5)}
        | {"fclaim": sentence(("c", i)), "abstract": sentence(("a", i))}
        | {name: int(j in (i % 14, i * 5 % 14)) for j, name in enumerate(names)}
        for i in range(280)
    ]
    corpus = run(
        rows,
        id="Publication Number",
        text=["title", "fclaim", "abstract"],
        labels={"columns": names, "layout": "indicators", "task": "multi"},
    )
    row = corpus.splits["test"][0]
    original = rows[int(row["id"].removeprefix("US"))]
    assert row["text"] == "\n\n".join(original[c] for c in ("title", "fclaim", "abstract"))
    assert corpus.labels.decode(row["labels"]) == [n for n in names if original[n]]
    for counts in corpus.report["labels"].values():
        assert min(counts.values()) >= 1
