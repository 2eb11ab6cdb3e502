"""Bad rows and settings give one sentence: what, where, what to do."""

from __future__ import annotations

import re

import pytest

from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence, table


def _with(row: int, **values) -> list[dict]:
    rows = table(20)
    rows[row] |= values
    return rows


MULTI = {"labels": {"columns": ["a", "b"], "layout": "indicators", "task": "multi"}}
INDICATORS = [{"text": sentence(i), "a": i % 2, "b": 1 - i % 2} for i in range(20)]

BAD_ROWS = {
    "missing column": (
        table(),
        {"text": ["body"]},
        "data.csv: no column 'body'; the columns are id, text, label",
    ),
    "empty text": (_with(4, text="  "), {}, "data.csv, row 5: the text ('text') is empty"),
    "nan text": (_with(4, text="NaN"), {}, "data.csv, row 5: the text ('text') is missing"),
    "no label": (_with(4, label=""), {}, "data.csv, row 5: no label ('label'); mend the row"),
    "huge row": (
        _with(4, text="x" * 600),
        {"max_chars": 500},
        "row 5: the text ('text') has more than max_chars = 500",
    ),
    "unknown label": (
        _with(4, label="fig"),
        {"labels": {"names": ["apple", "pear", "plum"]}},
        "row 5, column 'label': unknown label 'fig'; `labels.names` has apple, pear, plum",
    ),
    "one class": (
        table(20, ("apple",)),
        {},
        "a classifier needs at least two labels, but the data has 1: ['apple']",
    ),
    "class with one row": (
        _with(4, label="fig"),
        {},
        "labels with fewer than 2 rows: 'fig' (1) (in DIR/data.csv, row 5)",
    ),
    "named class without rows": (
        table(20),
        {"labels": {"names": ["apple", "pear", "plum", "fig"]}},
        "fewer than 2 rows: 'fig' (0)",
    ),
    "duplicate ids": (
        _with(4, id="r1"),
        {"id": "id"},
        "column 'id': id 'r1' is both in DIR/data.csv, row 2 and DIR/data.csv, row 5",
    ),
    "no id": (_with(4, id=" "), {"id": "id"}, "data.csv, row 5, column 'id': no id"),
    "id column as labels": (
        [{"text": "t", "label": f"id{i}"} for i in range(10_000)],
        {},
        "more than 1000 different labels, such as id0, id1, id2: is it an id or a text column?",
    ),
    "neither 0 nor 1": (
        [*INDICATORS[:4], {"text": "x", "a": 2, "b": 0}],
        MULTI,
        "data.csv, row 5, column 'a': '2' is neither 0 nor 1",
    ),
    "several labels for one": (
        [*INDICATORS[:4], {"text": "x", "a": 1, "b": 1}],
        {"labels": {"columns": ["a", "b"], "layout": "indicators"}},
        "row 5, column 'a': 2 labels where `labels.task: single` takes one",
    ),
    "indicator names": (
        INDICATORS,
        {"labels": MULTI["labels"] | {"names": ["a", "c"]}},
        "labels.names must be the label columns, in any order: b, c",
    ),
    "indicator columns": (
        INDICATORS,
        {"labels": MULTI["labels"] | {"columns": ["a", "a"]}},
        "`labels.columns` names column 'a' twice",
    ),
    "text twice": (table(), {"text": ["text", "text"]}, "`text` names column 'text' twice"),
    "delimiter in a name": (
        table(),
        {"labels": {"layout": "delimited", "names": ["a;b", "c"]}},
        "label 'a;b' holds the delimiter ';'",
    ),
    "not lists": (
        table(),
        {"labels": {"layout": "list"}},
        "row 1, column 'label': 'apple' is not a list such as",
    ),
    "not a split": (
        [r | {"part": "train" if i else "tset"} for i, r in enumerate(table())],
        {"split": {"column": "part"}},
        "data.csv, row 1, column 'part': 'tset' is no split; expected train, validation, test",
    ),
    "no group": (
        [r | {"family": "" if i == 3 else i} for i, r in enumerate(table())],
        {"split": {"group": "family"}},
        "data.csv, row 4, column 'family': no group",
    ),
    "split without a class": (
        [r | {"part": "test" if r["label"] == "pear" else "train"} for r in table()],
        {"split": {"column": "part"}},
        "the train split has no row of pear: the given splits leave it out",
    ),
    "no train split": (
        [r | {"part": "test"} for r in table()],
        {"split": {"column": "part"}},
        "the source has test but no train split",
    ),
    "torn group": (
        [r | {"part": ["train", "test"][i // 30], "family": i % 30} for i, r in enumerate(table())],
        {"split": {"column": "part", "group": "family"}},
        "are of one group but in different splits",
    ),
    "one group": (
        [r | {"family": 1} for r in table()],
        {"split": {"group": "family"}},
        "1 group is left to train on and to split",
    ),
    "all rows dropped": (
        [{"text": "", "label": "a"}],
        {"bad_rows": "drop"},
        "no rows to learn from: all 1 were bad: {'empty_text': 1}",
    ),
    "unknown encoding": (table(), {"encoding": "utf-9"}, "unknown encoding 'utf-9'; try utf-8"),
    "unknown split": (
        "x",
        {"source": {"train": "x", "holdout": "y"}},
        "source: 'holdout' is no split",
    ),
    "split twice": (
        "x",
        {"source": {"train": "x", "dev": "y", "val": "y"}},
        "source: the validation split is given twice",
    ),
    "no train source": (
        "x",
        {"source": {"test": "x"}},
        "source: a train split is needed beside test",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_and_settings(name, run, tmp_path):
    source, settings, message = BAD_ROWS[name]
    message = message.replace("DIR", str(tmp_path))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(source, **settings)
    assert len(str(error.value).splitlines()) == 1
    assert not [p for p in tmp_path.iterdir() if p.name != "data.csv"]


def test_bad_rows_are_dropped_and_counted_when_asked(run):
    rows = table(30)
    rows[1]["text"], rows[2]["text"], rows[3]["label"], rows[4]["text"] = "", "nan", " ", "x" * 600
    corpus = run(rows, id="id", bad_rows="drop", max_chars=500)
    assert corpus.report["rows"] == {
        "read": 30,
        "kept": 26,
        "dropped": {"missing_text": 1, "empty_text": 1, "too_long": 1, "no_label": 1},
    }
    kept = {i for data in corpus.splits.values() for i in data["id"]}
    assert kept == {row["id"] for row in rows} - {"r1", "r2", "r3", "r4"}
    assert "4 bad rows were dropped" in corpus.report["warnings"]
    labels = {row["id"]: row["label"] for row in rows}
    for row in corpus.splits["train"]:
        assert corpus.labels.decode(row["labels"]) == [labels[row["id"]]]
