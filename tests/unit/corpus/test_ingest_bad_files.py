"""Bad files and bad bytes give one sentence: what, where, what to do."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence, table, write_csv


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
