"""The division into train, validation and test."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from llmclf_core.artifacts import SPLITS
from llmclf_core.config import DuplicateConfig, IngestConfig, LabelColumns, SplitConfig
from llmclf_core.corpus import ingest
from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence, table, write_csv


def _ids(corpus) -> dict[str, list[str]]:
    return {split: corpus.splits[split]["id"] for split in SPLITS}


def test_shares_are_kept_label_by_label(run):
    rows = [{"text": sentence(i), "label": "aaaaaabbbc"[i % 10]} for i in range(1000)]
    corpus = run(rows, split={"validation": 0.1, "test": 0.3})
    assert {s: len(d) for s, d in corpus.splits.items()} == {
        "train": 600,
        "validation": 100,
        "test": 300,
    }
    assert corpus.report["labels"] == {
        "a": {"train": 360, "validation": 60, "test": 180},
        "b": {"train": 180, "validation": 30, "test": 90},
        "c": {"train": 60, "validation": 10, "test": 30},
    }


def test_the_seed_decides(run):
    first, again, other = (run(table(), id="id", split={"seed": s}) for s in (1, 1, 2))
    assert _ids(first) == _ids(again)
    assert _ids(first) != _ids(other)


def test_rows_keep_their_order_within_a_split(run):
    for ids in _ids(run(table(), id="id")).values():
        assert ids == sorted(ids, key=lambda i: int(i[1:]))


def test_rare_labels_reach_every_split_that_they_have_rows_for(run):
    sizes = {"many": 200, "two": 2, "three": 3, "four": 4}
    labels = [name for name, n in sizes.items() for _ in range(n)]
    rows = [{"text": sentence(i), "label": label} for i, label in enumerate(labels)]
    for seed in range(5):
        counts = run(rows, split={"seed": seed}).report["labels"]
        assert counts["two"] == {"train": 1, "validation": 0, "test": 1}
        for name in ("three", "four"):
            assert min(counts[name].values()) >= 1
        assert sum(sum(c.values()) for c in counts.values()) == len(rows)


def test_a_single_row_of_a_label_stays_in_train(run):
    rows = [*table(30), {"id": "x", "text": sentence("x"), "label": "fig"}]
    corpus = run(rows, id="id", min_rows_per_label=1)
    assert corpus.report["labels"]["fig"] == {"train": 1, "validation": 0, "test": 0}
    assert "the test split has no row of fig: no figures for these" in corpus.report["warnings"]


def test_no_share_leaves_a_split_empty_but_there(run):
    corpus = run(table(), split={"validation": 0})
    assert len(corpus.splits["validation"]) == 0
    assert corpus.splits["validation"][:]["text"] == []
    assert "the validation split is empty" in corpus.report["warnings"]


def test_a_split_column_is_followed(run):
    names = ["train", "Train", "dev", "test", " testing "]
    rows = [row | {"part": names[i % 5]} for i, row in enumerate(table())]
    corpus = run(rows, id="id", split={"column": "part"})
    assert corpus.splits["validation"]["id"] == [f"r{i}" for i in range(2, 60, 5)]
    assert len(corpus.splits["train"]) == len(corpus.splits["test"]) == 24
    assert not any(split["cut_here"] for split in corpus.report["splits"].values())


def test_given_files_are_followed_and_validation_is_cut_off_train(run, tmp_path):
    rows = table(90)
    write_csv(tmp_path / "a.csv", rows[:60])
    write_csv(tmp_path / "b.csv", rows[60:])
    source = {"training": str(tmp_path / "a.csv"), "test": str(tmp_path / "b.csv")}
    corpus = run("-", source=source, id="id")
    assert corpus.splits["test"]["id"] == [row["id"] for row in rows[60:]]
    assert len(corpus.splits["validation"]) == 6
    assert set(corpus.splits["validation"]["id"]) < {row["id"] for row in rows[:60]}
    assert corpus.report["splits"]["validation"] == {"rows": 6, "cut_here": True}
    numbered = run("-", source=source)
    assert numbered.splits["test"]["id"][0] == "test-1"
    assert numbered.splits["train"]["id"][0].startswith("train-")


def test_a_given_test_split_without_a_class_is_a_warning(run):
    rows = [r | {"part": "train"} for r in table()]
    rows += [
        {"id": f"t{i}", "text": sentence(f"t{i}"), "label": "pear", "part": "test"}
        for i in range(5)
    ]
    corpus = run(rows, split={"column": "part"})
    assert "the test split has no row of apple, plum" in " ".join(corpus.report["warnings"])


@pytest.mark.parametrize("seed", range(3))
def test_groups_never_straddle(run, seed):
    rng = np.random.default_rng(seed)
    rows = [
        row | {"family": f"f{int(rng.zipf(1.5)) % 40}", "label": "apple" if i % 3 else "pear"}
        for i, row in enumerate(table(400))
    ]
    corpus = run(rows, id="id", split={"group": "family", "seed": seed})
    family = {row["id"]: row["family"] for row in rows}
    splits = defaultdict(set)
    for split, ids in _ids(corpus).items():
        for i in ids:
            splits[family[i]].add(split)
    assert all(len(of_family) == 1 for of_family in splits.values())
    for counts in corpus.report["labels"].values():
        assert min(counts.values()) >= 1


def test_groups_of_one_size_keep_the_shares(run):
    rows = [row | {"family": i // 4, "label": "ab"[i // 4 % 2]} for i, row in enumerate(table(800))]
    corpus = run(rows, split={"group": "family"})
    sizes = {split: len(data) for split, data in corpus.splits.items()}
    assert sizes["test"] == pytest.approx(160, abs=16)
    assert sizes["validation"] == pytest.approx(80, abs=16)
    for counts in corpus.report["labels"].values():
        assert counts["test"] == pytest.approx(80, abs=12)


def test_the_only_group_of_a_label_is_trained_on(run):
    rows = [row | {"family": f"f{i}", "label": "pear"} for i, row in enumerate(table(40))]
    for i in range(6):
        rows[i] |= {"family": "apples", "label": "apple"}
    for seed in range(8):
        corpus = run(rows, split={"group": "family", "seed": seed, "test": 0.5})
        assert corpus.report["labels"]["apple"] == {"train": 6, "validation": 0, "test": 0}


def test_multi_label_rows_are_stratified_over_all_labels(run):
    rng = np.random.default_rng(0)
    rows = [
        {"text": sentence(i)}
        | {name: int(rng.random() < p) for name, p in zip("abc", (0.5, 0.1, 0.02), strict=True)}
        for i in range(1000)
    ]
    labels = {"columns": ["a", "b", "c"], "layout": "indicators", "task": "multi"}
    corpus = run(rows, labels=labels)
    for name, counts in corpus.report["labels"].items():
        total = sum(row[name] for row in rows)
        assert sum(counts.values()) == total
        assert counts["test"] == pytest.approx(0.2 * total, abs=2)
        assert counts["validation"] == pytest.approx(0.1 * total, abs=2)
    assert run(rows, labels=labels).fingerprint == corpus.fingerprint


def test_multi_label_groups_never_straddle(run):
    rows = [
        row | {"label": "a;b" if i % 3 else "b;c", "family": i // 3}
        for i, row in enumerate(table(90))
    ]
    labels = {"layout": "delimited", "task": "multi"}
    corpus = run(rows, id="id", labels=labels, split={"group": "family"})
    split_of = {i: split for split, ids in _ids(corpus).items() for i in ids}
    assert Counter(split_of[f"r{i}"] for i in range(0, 90, 3)) == Counter(
        split_of[f"r{i}"] for i in range(1, 90, 3)
    )
    for first in range(0, 90, 3):
        assert len({split_of[f"r{first + j}"] for j in range(3)}) == 1


def test_duplicates_that_would_empty_a_class_in_train_are_refused(run):
    rows = [r | {"part": "train"} for r in table(40, ("apple", "pear"))]
    rows += [
        {"id": f"t{i}", "text": row["text"], "label": "pear", "part": "test"}
        for i, row in enumerate(rows)
        if row["label"] == "pear"
    ]
    rows.append({"id": "t", "text": sentence("t"), "label": "apple", "part": "test"})
    with pytest.raises(UserError, match="the train split has no row of pear: 20 rows were removed"):
        run(rows, split={"column": "part"})


def test_fewer_training_rows_leave_validation_and_test_alone(tmp_path):
    labels = ["a"] * 40 + ["b"] * 30 + ["c"] * 10
    source = tmp_path / "data.csv"
    source.write_text("text,label\n" + "".join(f"text {i},{x}\n" for i, x in enumerate(labels)))

    def ids(limit):
        config = IngestConfig(
            source=str(source), split=SplitConfig(train_rows_per_label=limit),
            duplicates=DuplicateConfig(near=False),
        )  # fmt: skip
        corpus = ingest(config, tmp_path / f"corpus-{limit}")
        return {name: list(rows["id"]) for name, rows in corpus.splits.items()}, corpus

    whole, _ = ids(None)
    few, corpus = ids(5)
    more, _ = ids(9)
    assert few["test"] == whole["test"]
    assert few["validation"] == whole["validation"]
    assert set(few["train"]) < set(more["train"]) < set(whole["train"])
    counts = np.bincount([row["labels"][0] for row in corpus.splits["train"]])
    assert counts.tolist() == [5, 5, 5]
    assert corpus.report["rows"]["dropped"] == {"train_rows_per_label": len(whole["train"]) - 15}


def test_fewer_training_rows_multi_label(tmp_path):
    source = tmp_path / "data.csv"
    rows = [f"text {i},{'a;b' if i % 3 else 'b'}\n" for i in range(60)]
    source.write_text("text,label\n" + "".join(rows))
    config = IngestConfig(
        source=str(source), split=SplitConfig(train_rows_per_label=4),
        labels=LabelColumns(task="multi", layout="delimited"),
        duplicates=DuplicateConfig(near=False),
    )  # fmt: skip
    train = ingest(config, tmp_path / "corpus").splits["train"]
    counts = np.bincount([label for row in train for label in row["labels"]])
    assert counts[0] == 4
    assert counts[1] >= 4
    assert len(train) <= 8
