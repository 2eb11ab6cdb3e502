"""Bad input gives one sentence: what, where, what to do. And it leaves nothing behind."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmclf_core.artifacts import Corpus
from llmclf_core.config import DuplicateConfig, IngestConfig
from llmclf_core.corpus import ingest
from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence, table, write_csv


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


def _file(name: str, data: bytes):
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def _truncated_arrow(folder: Path) -> Path:
    data = pa.Table.from_pylist(table())
    path = folder / "d.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def _damaged_offsets(folder: Path) -> Path:
    """Arrow whose text offsets point far outside its data."""
    path = folder / "d.arrow"
    data = pa.table({"text": ["a" * 9, "b" * 9], "label": ["x", "y"]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema) as writer:
        writer.write_table(data)
    raw = path.read_bytes()
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 9, 18))
    assert raw.count(offsets) == 1
    path.write_bytes(raw.replace(offsets, offsets[:4] + b"\xff\xff\xff\x7f" + offsets[8:]))
    return path


def _nan_parquet(folder: Path) -> Path:
    rows = [{"text": sentence(i), "label": "ab"[i % 2]} for i in range(20)]
    rows[6]["text"] = None
    parquet.write_table(pa.Table.from_pylist(rows), folder / "d.parquet")
    return folder / "d.parquet"


def _nested_parquet(folder: Path) -> Path:
    rows = [{"text": [sentence(i)], "label": "ab"[i % 2]} for i in range(20)]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "d.parquet")
    return folder / "d.parquet"


def _number_labels_as_list(folder: Path) -> Path:
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [1, 2]}), folder / "d.parquet")
    return folder / "d.parquet"


def _empty_parquet(folder: Path) -> Path:
    parquet.write_table(pa.table({"text": ["a"], "label": ["b"]}).slice(0, 0), folder / "d.parquet")
    return folder / "d.parquet"


def _folder(folder: Path) -> Path:
    (folder / "d" / "a").mkdir(parents=True)
    return folder / "d"


def _txt_without_classes(folder: Path) -> Path:
    _folder(folder)
    (folder / "d" / "a.txt").write_text("x")
    return folder / "d"


def _broken_saved(folder: Path) -> Path:
    datasets.Dataset.from_list(table()).save_to_disk(str(folder / "d"))
    (folder / "d" / "data-00000-of-00001.arrow").write_bytes(b"nonsense")
    return folder / "d"


GOOD_LINE = b'{"text": "a b", "label": "x"}\n'
LATIN = "id,text,label\n1,plain,x\n2,caf\xe9,y\n".encode("latin-1")

BAD_FILES = {
    "missing file": (lambda p: p / "gone.csv", {}, "gone.csv does not exist; check `source`"),
    "empty csv": (_file("d.csv", b""), {}, "d.csv is empty"),
    "header only": (
        _file("d.csv", b"text,label\n"),
        {},
        "no rows to learn from: the source is empty",
    ),
    "empty jsonl": (_file("d.jsonl", b"\n"), {}, "d.jsonl is empty: it has no rows"),
    "empty parquet": (_empty_parquet, {}, "d.parquet is empty: it has no rows"),
    "empty folder": (_folder, {}, "holds no file of a known kind"),
    "folder without csv": (_folder, {"format": "csv"}, "holds no csv file (.csv)"),
    "text files without classes": (_txt_without_classes, {}, "is empty: it has no rows"),
    "no known suffix": (_file("d.dat", b"x"), {}, "d.dat: cannot tell the format from the name"),
    "directory as file": (
        lambda p: _folder(p).rename(p / "d.csv"),
        {"format": "jsonl"},
        "holds no jsonl file",
    ),
    "column twice": (
        _file("d.csv", b"text,label,text\na,b,c\n"),
        {},
        "column 'text' occurs twice in the header",
    ),
    "wrong encoding": (
        _file("d.csv", LATIN),
        {},
        "d.csv: line 3, byte 29 is not valid utf-8; set `encoding:`",
    ),
    "wrong encoding in jsonl": (
        _file("d.jsonl", GOOD_LINE * 2 + b'{"text": "\xff"}'),
        {},
        "line 3, byte 70 is not valid utf-8",
    ),
    "malformed csv": (
        _file("d.csv", b"text,label\na,b\n\na,b,c\n"),
        {},
        "d.csv, row 2: malformed: 3 values where the header has 2: 'a,b,c'",
    ),
    "open quote": (
        _file("d.csv", b'text,label\na,b\n"a,b\n' + b"c,d\n" * 9),
        {},
        "d.csv, row 2: malformed: 1 values",
    ),
    "open quote over many megabytes": (
        _file("d.csv", b'text,label\na,b\n"a,b\n' + b"c,d\n" * 3_000_000),
        {},
        "d.csv: a row is larger than 7 MB: a quote that is not closed",
    ),
    "malformed json": (
        _file("d.jsonl", GOOD_LINE * 2 + b"{text}\n"),
        {},
        "d.jsonl, line 3: not valid JSON",
    ),
    "json that is no object": (
        _file("d.jsonl", GOOD_LINE + b"[1]\n"),
        {},
        "d.jsonl, line 2: expected a JSON object, found list",
    ),
    "json with an object as text": (
        _file("d.jsonl", GOOD_LINE + b'{"text": {}, "label": "x"}\n'),
        {},
        "d.jsonl, line 2, column 'text': expected text or a number, found dict",
    ),
    "json with a missing key": (
        _file("d.jsonl", GOOD_LINE + b'{"label": "x"}\n'),
        {},
        "line 2: the text ('text') is missing",
    ),
    "json nan": (
        _file("d.jsonl", GOOD_LINE + b'{"text": NaN, "label": "x"}\n'),
        {},
        "line 2: the text ('text') is missing",
    ),
    "half a surrogate": (
        _file("d.jsonl", GOOD_LINE + b'{"text": "\\ud800", "label": "x"}'),
        {},
        "line 2, column 'text': half of a surrogate pair",
    ),
    "null text": (_nan_parquet, {}, "d.parquet, row 7: the text ('text') is missing (null or NaN)"),
    "nested text": (_nested_parquet, {}, "column 'text' holds list<"),
    "numbers where lists should be": (
        _number_labels_as_list,
        {"labels": {"layout": "list"}},
        "column 'label' holds int64, not lists",
    ),
    "truncated arrow": (_truncated_arrow, {}, "d.arrow is damaged or not of this format"),
    "damaged arrow offsets": (_damaged_offsets, {}, "d.arrow is damaged or not of this format"),
    "csv named arrow": (
        _file("d.arrow", b"text,label\n"),
        {},
        "d.arrow is damaged or not of this format",
    ),
    "csv named parquet": (
        _file("d.parquet", b"text,label\n" * 9),
        {},
        "d.parquet is damaged or not of this format",
    ),
    "damaged saved dataset": (_broken_saved, {}, "cannot be read"),
    "missing column in parquet": (
        _nan_parquet,
        {"id": "key"},
        "no column 'key'; the columns are text, label",
    ),
    "missing column in jsonl": (
        _file("d.jsonl", GOOD_LINE),
        {"id": "key"},
        "no column 'key'; the columns are text, label",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name, run, tmp_path):
    make, settings, message = BAD_FILES[name]
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(make(tmp_path), **settings)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.glob(".out*"))
    assert not (tmp_path / "out").exists()


def test_the_row_number_of_a_malformed_row_counts_from_the_start_of_the_file(run, tmp_path):
    rows = b"".join(b"%s,x\n" % (b"word " * 200) for _ in range(9000))  # over one block of 4 MB
    (tmp_path / "d.csv").write_bytes(b"text,label\n" + rows + b"1,2,3\n")
    with pytest.raises(UserError, match=r"d.csv, row 9001: malformed"):
        run(tmp_path / "d.csv", max_chars=2000)


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


def test_bad_bytes_are_replaced_and_counted_when_asked(run, tmp_path):
    genuine = "\ufffd".encode()
    lines = [b"%d caf\xe9 %s,%s" % (i, genuine, b"xy"[i % 2 : i % 2 + 1]) for i in range(20)]
    (tmp_path / "d.csv").write_bytes(b"text,label\n" + b"\n".join(lines))
    corpus = run(tmp_path / "d.csv", bad_bytes="replace", duplicates={"near": False})
    assert corpus.report["replaced_bytes"] == {str(tmp_path / "d.csv"): 20}
    assert all("caf\ufffd \ufffd" in text for text in corpus.splits["train"]["text"])


def test_half_surrogates_are_replaced_and_counted_when_asked(run, tmp_path):
    rows = [{"text": f"{sentence(i)} \ud800", "label": "ab"[i % 2]} for i in range(20)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = run(tmp_path / "d.jsonl", bad_bytes="replace")
    assert sum(corpus.report["replaced_bytes"].values()) == 20
    assert corpus.splits["train"]["text"][0].endswith(" \ufffd")


def test_the_same_bytes_in_their_own_encoding_are_read(run, tmp_path):
    text = "text,label\n" + "\n".join(f"{i} café {sentence(i)},{'xy'[i % 2]}" for i in range(20))
    (tmp_path / "d.csv").write_bytes(text.encode("latin-1"))
    corpus = run(tmp_path / "d.csv", encoding="latin-1")
    assert "café" in corpus.splits["train"]["text"][0]


def test_an_unreadable_file_is_named(run, tmp_path, monkeypatch):
    write_csv(tmp_path / "d.csv", table())

    ours = Path.open

    def refuse(path, *args, **kwargs):
        if path.name == "d.csv":
            raise PermissionError(errno.EACCES, "Permission denied")
        return ours(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"cannot read .*d\.csv: Permission denied"):
        run(tmp_path / "d.csv")


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    source = write_csv(tmp_path / "d.csv", table())
    with pytest.raises(UserError, match=r"cannot write .*file/out"):
        ingest(IngestConfig(source=str(source)), tmp_path / "file" / "out")


def test_a_read_only_output_is_refused(tmp_path):
    source = write_csv(tmp_path / "d.csv", table())
    with pytest.raises(UserError, match="cannot write /proc/out"):
        ingest(IngestConfig(source=str(source)), Path("/proc/out"))


def test_a_failure_leaves_the_previous_corpus(run):
    before = run(table(), id="id")
    with pytest.raises(UserError):
        run(_with(4, text=""), id="id")
    data = before.splits["train"].cache_files[0]["filename"]
    assert Corpus.load(Path(data).parents[1]).fingerprint == before.fingerprint


@pytest.mark.parametrize("near", [True, False])
def test_a_full_disk_is_named_and_leaves_nothing(small_disk, tmp_path, near):
    rows = [{"text": sentence(i, 200), "label": "ab"[i % 2]} for i in range(2000)]
    source = write_csv(tmp_path / "d.csv", rows)
    config = IngestConfig(source=str(source), duplicates=DuplicateConfig(near=near))
    with pytest.raises(UserError, match=r"cannot write .*the disk is full; free some space"):
        ingest(config, small_disk / "out")
    assert not list(small_disk.iterdir())
