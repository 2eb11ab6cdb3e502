"""What every classifier must do when saved and loaded, whatever the approach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmclf_core.approaches import Calibration, Classifier, load_classifier
from llmclf_core.approaches.base import HEADER, LINEAGE
from llmclf_core.errors import UserError
from llmclf_core.files import SCHEMA_VERSION
from tests.conformance.checks import Check, some_texts
from tests.conformance.factories import Subject

TEXT_FILES = {".json", ".jsonl", ".txt", ".jinja", ".model"}


def files_of(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def own_files(path: Path) -> list[str]:
    """What the approach has written: neither the header nor where the classifier came from."""
    return [n for n in files_of(path) if n not in (HEADER, LINEAGE) and not n.endswith(".jsonl")]


def assert_same(subject: Subject, loaded: Classifier) -> None:
    texts, classifier = some_texts(), subject.classifier
    np.testing.assert_allclose(
        loaded.predict_logits(texts),
        classifier.predict_logits(texts),
        rtol=0,
        atol=subject.reload_tolerance,
    )
    assert loaded.fingerprint == classifier.fingerprint
    assert loaded.predict(texts) == classifier.predict(texts)


def refused(path: Path, *words: str, base: Path | None = None) -> None:
    with pytest.raises(UserError) as caught:
        load_classifier(path, str(base) if base else None)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def change_header(path: Path, **changes: object) -> None:
    header = json.loads((path / HEADER).read_text("utf-8")) | changes
    (path / HEADER).write_text(json.dumps(header), "utf-8")


def check_loaded_is_the_saved_one(subject: Subject, tmp: Path) -> None:
    loaded = load_classifier(subject.path)
    assert_same(subject, loaded)
    assert type(loaded) is type(subject.classifier)
    assert loaded.labels == subject.classifier.labels
    assert loaded.calibration == subject.classifier.calibration
    assert loaded.lineage == subject.classifier.lineage
    header = json.loads((subject.path / HEADER).read_text("utf-8"))
    assert header["fingerprint"] == loaded.fingerprint


def check_saved_again_is_still_the_same(subject: Subject, tmp: Path) -> None:
    load_classifier(subject.path).save(tmp / "again")
    assert_same(subject, load_classifier(tmp / "again"))
    theirs, mine = files_of(subject.path), files_of(tmp / "again")
    assert all(mine[name] == theirs[name] for name in own_files(subject.path))


def check_saved_over_the_directory_it_was_loaded_from(subject: Subject, tmp: Path) -> None:
    path = shutil.copytree(subject.path, tmp / "c")
    load_classifier(path).save(path)
    assert_same(subject, load_classifier(path))
    assert [p.name for p in tmp.iterdir()] == ["c"]


def check_calibration_is_kept_and_counts(subject: Subject, tmp: Path) -> None:
    classifier = load_classifier(subject.path)
    n = len(classifier.labels)
    classifier.calibration = Calibration(2.5, tuple(0.1 + 0.7 * i / n for i in range(n)))
    classifier.lineage = {"corpus": "abc", "名": [1, None]}
    classifier.save(tmp / "c")
    loaded = load_classifier(tmp / "c")
    assert loaded.calibration == classifier.calibration
    assert loaded.lineage == classifier.lineage
    assert loaded.fingerprint == classifier.fingerprint != subject.classifier.fingerprint
    plain, changed = (c.predict_proba(some_texts()) for c in (subject.classifier, loaded))
    assert np.abs(plain - changed).max() > 1e-3


def check_lineage_does_not_count(subject: Subject, tmp: Path) -> None:
    classifier = load_classifier(subject.path)
    classifier.lineage = {"corpus": "another"}
    assert classifier.fingerprint == subject.classifier.fingerprint


def check_failed_save_leaves_the_old_one(subject: Subject, tmp: Path) -> None:
    path = shutil.copytree(subject.path, tmp / "c")
    before = files_of(path)

    def fails(self: Classifier, draft: Path) -> None:
        (draft / "half").write_text("written")
        raise RuntimeError("in the middle")

    kind = type(subject.classifier)
    with mock.patch.object(kind, "_write", fails), pytest.raises(RuntimeError, match="middle"):
        subject.classifier.save(path)
    assert files_of(path) == before
    assert [p.name for p in tmp.iterdir()] == ["c"]


def check_unwritable_place(subject: Subject, tmp: Path) -> None:
    (tmp / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/c"):
        subject.classifier.save(tmp / "file" / "c")


def check_nothing_saved_can_run(subject: Subject, tmp: Path) -> None:
    for name, content in files_of(subject.path).items():
        if name.endswith(".safetensors"):
            load_file(subject.path / name)
        else:
            assert Path(name).suffix in TEXT_FILES, name
            content.decode("utf-8")


def _tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for file in sorted(path.rglob("*.safetensors")):
        yield from load_file(file).items()


def check_the_base_is_not_copied(subject: Subject, tmp: Path) -> None:
    if subject.base is None:
        return
    base, saved = dict(_tensors(subject.base)), dict(_tensors(subject.path))
    assert not base.keys() & saved.keys()
    big = [t for t in base.values() if t.size > 1000]
    assert big
    for name, mine in saved.items():
        assert not any(t.shape == mine.shape and np.array_equal(t, mine) for t in big), name
    size = sum(t.nbytes for t in saved.values())
    assert size < 0.5 * sum(t.nbytes for t in base.values())


def check_base_may_move(subject: Subject, tmp: Path) -> None:
    if subject.base is None:
        return
    moved = shutil.copytree(subject.base, tmp / "moved")
    assert_same(subject, load_classifier(subject.path, base=str(moved)))
    path = shutil.copytree(subject.path, tmp / "c")
    recorded = json.loads((path / HEADER).read_text("utf-8"))["base"]
    change_header(path, base=recorded | {"source": "/gone/model"})
    refused(path, "/gone/model")
    texts = some_texts()
    np.testing.assert_allclose(
        load_classifier(path, base=str(moved)).predict_logits(texts),
        subject.classifier.predict_logits(texts),
        rtol=0,
        atol=subject.reload_tolerance,
    )


def check_another_base_is_refused(subject: Subject, tmp: Path) -> None:
    if subject.base is None:
        return
    other = shutil.copytree(subject.base, tmp / "other")
    (weights,) = other.glob("*.safetensors")
    save_file({k: v * 1.01 for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    refused(subject.path, str(subject.base), str(other), base=other)


def check_damaged_files_are_refused(subject: Subject, tmp: Path) -> None:
    """Missing, cut short, or one bit changed: each file, named."""
    for name in own_files(subject.path):
        content = (subject.path / name).read_bytes()
        flipped = bytearray(content)
        flipped[-9] ^= 1
        for damage in (None, content[: len(content) // 2], bytes(flipped)):
            path = shutil.copytree(subject.path, tmp / "c")
            (path / name).unlink()
            if damage is not None:
                (path / name).write_bytes(damage)
            refused(path, Path(name).name, "train or fetch")
            shutil.rmtree(path)


def check_damaged_header_is_refused(subject: Subject, tmp: Path) -> None:
    path = shutil.copytree(subject.path, tmp / "c")
    content = (path / HEADER).read_text("utf-8")
    for key in json.loads(content).keys() - {"fingerprint"}:  # that one is computed again
        rest = {k: v for k, v in json.loads(content).items() if k != key}
        (path / HEADER).write_text(json.dumps(rest), "utf-8")
        refused(path, str(path))
    for broken in ("", "[]", content[:-30], "\ud800".encode("utf-8", "surrogatepass")):
        data = broken if isinstance(broken, bytes) else broken.encode()
        (path / HEADER).write_bytes(data)
        refused(path, str(path))
    (path / HEADER).unlink()
    refused(path, "is not a classifier: classifier.json is missing")


def check_damaged_lineage_is_refused(subject: Subject, tmp: Path) -> None:
    path = shutil.copytree(subject.path, tmp / "c")
    (path / LINEAGE).write_text("{")
    refused(path, "lineage.json")


def check_newer_schema_and_unknown_approach(subject: Subject, tmp: Path) -> None:
    path = shutil.copytree(subject.path, tmp / "c")
    change_header(path, schema_version=SCHEMA_VERSION + 1)
    refused(path, f"classifier schema {SCHEMA_VERSION + 1}", f"reads {SCHEMA_VERSION}")
    change_header(path, schema_version=SCHEMA_VERSION, approach="telepathy")
    refused(path, "approach 'telepathy'", "knows", subject.classifier.approach)
    change_header(path, kind="corpus")
    refused(path, "is not a classifier")


CHECKS: list[Check] = [
    check_loaded_is_the_saved_one,
    check_saved_again_is_still_the_same,
    check_saved_over_the_directory_it_was_loaded_from,
    check_calibration_is_kept_and_counts,
    check_lineage_does_not_count,
    check_failed_save_leaves_the_old_one,
    check_unwritable_place,
    check_nothing_saved_can_run,
    check_the_base_is_not_copied,
    check_base_may_move,
    check_another_base_is_refused,
    check_damaged_files_are_refused,
    check_damaged_header_is_refused,
    check_damaged_lineage_is_refused,
    check_newer_schema_and_unknown_approach,
]
