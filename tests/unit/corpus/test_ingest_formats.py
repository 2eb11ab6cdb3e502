"""Every format gives the same corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmclf_core.artifacts import CORPUS_FEATURES, SPLITS, Corpus
from llmclf_core.config import IngestConfig
from llmclf_core.corpus.readers.base import Part
from llmclf_core.corpus.readers.hub import _note_revision
from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence, table, write_csv

ROWS = [row | {"text": row["text"] + ' é "quoted", and\nbroken'} for row in table()]


def _jsonl(path: Path) -> Path:
    path.write_text("\n\n".join(json.dumps(row) for row in ROWS), "utf-8")
    return path


def _parquet(path: Path) -> Path:
    parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    return path


def _arrow_file(path: Path) -> Path:
    data = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=7)
    return path


def _arrow_stream(path: Path) -> Path:
    data = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=7)
    return path


def _saved(path: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


def _class_labels(path: Path) -> Path:
    names = ["plum", "pear", "apple"]
    data = datasets.Dataset.from_list([r | {"label": names.index(r["label"])} for r in ROWS])
    data.cast_column("label", datasets.ClassLabel(names=names)).save_to_disk(str(path))
    return path


def _csv_shards(path: Path) -> Path:
    path.mkdir()
    write_csv(path / "a.csv", ROWS[:11])
    write_csv(path / "b.csv", ROWS[11:])
    return path


def _utf16(path: Path) -> Path:
    text = write_csv(path, ROWS).read_text("utf-8")
    path.write_bytes(text.encode("utf-16"))
    return path


FORMATS = {
    "tsv": (lambda p: write_csv(p / "d.tsv", ROWS, "\t"), {}),
    "jsonl": (lambda p: _jsonl(p / "d.jsonl"), {}),
    "parquet": (lambda p: _parquet(p / "d.parquet"), {}),
    "arrow file": (lambda p: _arrow_file(p / "d.arrow"), {}),
    "arrow stream": (lambda p: _arrow_stream(p / "d.feather"), {}),
    "saved": (lambda p: _saved(p / "d"), {}),
    "saved with class labels": (lambda p: _class_labels(p / "d"), {}),
    "shards": (lambda p: _csv_shards(p / "d"), {}),
    "utf-16": (lambda p: _utf16(p / "d.csv"), {"encoding": "utf-16"}),
    "format by name": (
        lambda p: write_csv(p / "d.dat", ROWS),
        {"format": "csv"},
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_corpus_of_the_csv_file(name, run, tmp_path):
    make, settings = FORMATS[name]
    expected = run(ROWS, id="id")
    folder = tmp_path / "other"
    folder.mkdir()
    corpus = run(make(folder), id="id", **settings)
    assert corpus.fingerprint == expected.fingerprint
    assert corpus.splits["test"]["text"] == expected.splits["test"]["text"]
    assert corpus.labels == expected.labels


def test_the_corpus_holds_every_row_once_with_its_own_text_and_label(run):
    corpus = run(ROWS, id="id")
    by_id = {row["id"]: row for row in ROWS}
    seen = []
    for split in SPLITS:
        assert corpus.splits[split].features == CORPUS_FEATURES
        for row in corpus.splits[split]:
            assert row["text"] == by_id[row["id"]]["text"]
            assert corpus.labels.decode(row["labels"]) == [by_id[row["id"]]["label"]]
            seen.append(row["id"])
    assert sorted(seen) == sorted(by_id)
    assert corpus.labels.names == ("apple", "pear", "plum")


def test_a_byte_order_mark_and_crlf_change_nothing(run, tmp_path):
    plain = [row | {"text": sentence(row["id"])} for row in ROWS]
    expected = run(plain, id="id")
    data = write_csv(tmp_path / "b.csv", plain).read_bytes().replace(b"\r\n", b"\n")
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + data)
    assert run(tmp_path / "b.csv", id="id").fingerprint == expected.fingerprint


def test_rows_are_numbered_when_there_is_no_id_column(run, tmp_path):
    corpus = run(ROWS)
    ids = [int(i) for split in SPLITS for i in corpus.splits[split]["id"]]
    assert sorted(ids) == list(range(1, 61))
    assert (
        corpus.splits["train"]["text"][0] == ROWS[int(corpus.splits["train"]["id"][0]) - 1]["text"]
    )


def test_numbers_and_booleans_are_labels_in_one_way_in_all_formats(run, tmp_path):
    names = {}
    for kind, values in {"int": [1, 2], "float": [1.0, 2.0], "bool": [True, False]}.items():
        rows = [{"text": sentence(i), "label": values[i % 2]} for i in range(20)]
        path = tmp_path / f"{kind}.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), path)
        jsonl = tmp_path / f"{kind}.jsonl"
        jsonl.write_text("\n".join(map(json.dumps, rows)))
        names[kind] = run(path).labels.names
        assert run(jsonl).labels.names == names[kind]
    assert names == {"int": ("1", "2"), "float": ("1", "2"), "bool": ("False", "True")}
    assert run([{"text": sentence(i), "label": i % 2 + 1} for i in range(20)]).labels.names == (
        "1",
        "2",
    )


def test_a_dictionary_encoded_column_is_read_as_text(run, tmp_path):
    data = pa.Table.from_pylist(ROWS)
    column = data.column("label").dictionary_encode()
    parquet.write_table(data.set_column(2, "label", column), tmp_path / "d.parquet")
    assert run(tmp_path / "d.parquet", id="id").fingerprint == run(ROWS, id="id").fingerprint


def test_text_columns_are_joined_and_empty_ones_left_out(run):
    rows = [{"title": f"title {i}", "body": sentence(i), "label": "ab"[i % 2]} for i in range(20)]
    rows[3]["title"], rows[4]["title"] = "", "nan"
    corpus = run(rows, text=["title", "body"], joiner=" | ")
    texts = {row["id"]: row["text"] for split in SPLITS for row in corpus.splits[split]}
    assert texts["1"] == f"title 0 | {sentence(0)}"
    assert texts["4"] == sentence(3)
    assert texts["5"] == sentence(4)


def test_limit_reads_the_first_rows_only(run):
    assert run(ROWS, limit=30).report["rows"]["read"] == 30


def test_a_folder_by_class_with_a_limit_still_shows_all_classes(run, tmp_path):
    _class_folders(tmp_path / "d")
    corpus = run(tmp_path / "d", limit=9)
    assert corpus.labels.names == ("apple", "pear", "plum")
    assert corpus.report["rows"]["read"] == 9


def _class_folders(root: Path, rows=ROWS) -> None:
    for row in rows:
        folder = root / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['id']}.txt").write_text(row["text"], "utf-8")


def test_a_folder_by_class(run, tmp_path):
    _class_folders(tmp_path / "d")
    corpus = run(tmp_path / "d", id="path")
    by_path = {f"{row['label']}/{row['id']}.txt": row for row in ROWS}
    for row in corpus.splits["train"]:
        assert row["text"] == by_path[row["id"]]["text"]
        assert corpus.labels.decode(row["labels"]) == [by_path[row["id"]]["label"]]


def test_a_folder_with_train_and_test(run, tmp_path):
    _class_folders(tmp_path / "d" / "train", ROWS[:45])
    _class_folders(tmp_path / "d" / "test", ROWS[45:])
    corpus = run(tmp_path / "d", id="path")
    assert len(corpus.splits["test"]) == 15
    assert len(corpus.splits["validation"]) > 0


def test_a_saved_dict_keeps_its_splits_and_leaves_out_others(run, tmp_path):
    pieces = {"train": ROWS[:40], "dev": ROWS[40:50], "test": ROWS[50:], "unsupervised": ROWS[:3]}
    data = {name: datasets.Dataset.from_list(rows) for name, rows in pieces.items()}
    datasets.DatasetDict(data).save_to_disk(str(tmp_path / "d"))
    corpus = run(tmp_path / "d", id="id")
    assert corpus.splits["validation"]["id"] == [row["id"] for row in ROWS[40:50]]
    assert corpus.splits["train"]["id"] == [row["id"] for row in ROWS[:40]]
    assert "'unsupervised'" in corpus.report["warnings"][0]
    limited = run(tmp_path / "d", id="id", limit=9)
    assert {s: len(d) for s, d in limited.splits.items()} == dict.fromkeys(SPLITS, 9)


def test_one_split_of_a_saved_dict_can_be_named(run, tmp_path):
    pieces = {"train": ROWS[:40], "test": ROWS[40:]}
    data = {name: datasets.Dataset.from_list(rows) for name, rows in pieces.items()}
    datasets.DatasetDict(data).save_to_disk(str(tmp_path / "d"))
    write_csv(tmp_path / "t.csv", ROWS[40:50])
    source = {"train": str(tmp_path / "d"), "test": str(tmp_path / "t.csv")}
    corpus = run("-", source=source, id="id")
    assert corpus.report["rows"]["read"] == 50
    assert corpus.splits["test"]["id"] == [row["id"] for row in ROWS[40:50]]
    with pytest.raises(UserError, match="has no validation split, only train, test"):
        run("-", source=source | {"validation": str(tmp_path / "d")}, id="id")


def test_a_saved_list_of_class_labels(run, tmp_path):
    rows = [{"text": sentence(i), "label": [i % 3, (i + 1) % 3]} for i in range(30)]
    feature = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.List(datasets.ClassLabel(names=["x", "y", "z"])),
        }
    )
    datasets.Dataset.from_list(rows, features=feature).save_to_disk(str(tmp_path / "d"))
    corpus = run(tmp_path / "d", labels={"layout": "list", "task": "multi"})
    row = corpus.splits["train"][0]
    number = int(row["id"].removeprefix("train-")) - 1
    expected = sorted({"xyz"[number % 3], "xyz"[(number + 1) % 3]})
    assert corpus.labels.decode(row["labels"]) == expected


def test_a_hub_dataset_from_the_local_cache(run, tmp_path, monkeypatch):
    """The hub itself is out of reach here: `datasets` loads a directory in the id's place."""
    folder = tmp_path / "team" / "fruit"
    folder.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(ROWS), folder / "train.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    corpus = run("team/fruit", id="id", format="hub")
    assert sum(len(data) for data in corpus.splits.values()) == 60
    assert len(corpus.splits["test"]) == 12


def test_the_commit_of_a_hub_dataset_is_recorded():
    data = datasets.Dataset.from_list(ROWS)
    commit = "0123456789abcdef0123456789abcdef01234567"
    data.info.download_checksums = {f"hf://datasets/a/b@{commit}/train.parquet": {"num_bytes": 1}}
    part = Part("a/b", (), "hub", None, IngestConfig(source="a/b"))
    _note_revision(datasets.DatasetDict(train=data), part)
    assert part.commit == [commit]


def test_no_network_and_no_cache_is_one_clear_error(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from llmclf_core.config import IngestConfig\n"
        "from llmclf_core.corpus import ingest\n"
        "from llmclf_core.errors import exit_on_user_error\n"
        "with exit_on_user_error():\n"
        f"    ingest(IngestConfig(source='nobody/nothing'), Path({str(tmp_path / 'out')!r}))\n"
    )
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_DATASETS_CACHE": str(tmp_path / "hf" / "datasets"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path.cwd(),
    )
    assert done.returncode == 2, done.stderr
    error = done.stderr.splitlines()[-1]
    assert "no file or directory 'nobody/nothing' here" in error
    assert "no network and not in the cache" in error


def test_equal_in_every_process(run, tmp_path):
    expected = run(ROWS, id="id").fingerprint
    program = (
        "from pathlib import Path\n"
        "from llmclf_core.config import IngestConfig\n"
        "from llmclf_core.corpus import ingest\n"
        f"config = IngestConfig(source={str(tmp_path / 'data.csv')!r}, id='id')\n"
        f"print(ingest(config, Path({str(tmp_path / 'again')!r})).fingerprint)\n"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_the_fingerprint_follows_text_label_split_and_settings(run):
    prints = {run(ROWS, id="id").fingerprint}
    prints.add(run(ROWS, id="id", split={"seed": 14}).fingerprint)
    prints.add(run(ROWS, id="id", min_rows_per_label=3).fingerprint)
    changed = [dict(row) for row in ROWS]
    changed[7]["text"] += "."
    prints.add(run(changed, id="id").fingerprint)
    changed[7] |= {"text": ROWS[7]["text"], "label": "plum"}
    prints.add(run(changed, id="id").fingerprint)
    assert len(prints) == 5


def test_saved_splits_have_their_own_cache_names(run):
    corpus = run(ROWS, id="id")
    assert len({data._fingerprint for data in corpus.splits.values()}) == 3


def test_the_returned_corpus_is_the_one_on_disk(run, tmp_path):
    corpus = run(ROWS)
    again = Corpus.load(tmp_path / "out")
    assert again.fingerprint == corpus.fingerprint
    assert again.report == corpus.report
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "corpus.json",
        "report.json",
        "test",
        "train",
        "validation",
    ]


def test_several_kinds_of_files_in_one_folder_are_refused(run, tmp_path):
    (tmp_path / "d").mkdir()
    write_csv(tmp_path / "d" / "a.csv", ROWS)
    _jsonl(tmp_path / "d" / "b.jsonl")
    with pytest.raises(UserError, match="several kinds of files; set `format`: csv or jsonl"):
        run(tmp_path / "d")
