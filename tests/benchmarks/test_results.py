"""Statistics, what is measured anew, the summary and the table."""

import json
import logging
from dataclasses import replace

import pytest

from benchmarks.fast import __main__ as program
from benchmarks.fast.cases import CASES, HEAD_EMULATED
from benchmarks.fast.results import BEGIN, END, MEASURED, Results, key_of, replace_table, table
from benchmarks.fast.statistics import (
    median_and_range,
    order,
    times_faster,
    times_sooner,
    times_the_memory,
)
from benchmarks.fast.turns import ROOT, WorkerError
from benchmarks.fast.work import resolved
from llmclf_core.errors import UserError

IDS = {
    "head_train_bf16",
    "head_train_nf4",
    "head_time_to_f1",
    "head_matmul_share",
    "instruct_train_tags58",
    "instruct_train_bbc",
    "instruct_predict_bbc",
    "instruct_predict_tags58",
    "frozen_layer_cache",
    "ingest_tokenize",
    "head_train_memory_nf4",
}


def test_pairs_alternate_who_goes_first():
    first = [names[0] for names in order(4)]
    assert first == ["ours", "reference", "ours", "reference"]
    assert all(set(names) == {"ours", "reference"} for names in order(4))


def test_the_value_is_the_median_of_the_pairs_ratios():
    assert median_and_range([3.0, 1.0, 2.5]) == {"value": 2.5, "low": 1.0, "high": 3.0}


def test_speed_is_work_over_time():
    ours, reference = {"amount": 300, "seconds": 2.0}, {"amount": 100, "seconds": 4.0}
    assert times_faster(ours, reference) == 6.0
    assert times_the_memory({"peak_memory": 3}, {"peak_memory": 4}) == 0.75


def validations(*found):
    return {"validations": [{"seconds": s, "macro_f1": f1} for s, f1 in found]}


def test_sooner_counts_from_when_each_side_first_has_the_references_last_f1():
    reference = validations((100, 0.5), (200, 0.9), (300, 0.9))
    assert times_sooner(validations((10, 0.8), (40, 0.95), (60, 0.7)), reference) == 5.0
    assert times_sooner(validations((10, 0.8)), reference) == 0.0


@pytest.mark.parametrize(
    ("precision", "native", "expected"),
    [
        ("auto", True, ("bf16", "bfloat16")),
        ("auto", False, ("fp32", "float32")),
        ("bf16", False, ("bf16", "bfloat16")),
        ("fp32", True, ("fp32", "float32")),
        ("nf4", True, ("nf4", "bfloat16")),
        ("nf4", False, ("nf4", "float32")),
    ],
)
def test_the_compute_type_is_what_the_hardware_has_unless_it_is_asked_for(
    precision, native, expected
):
    found = resolved(replace(CASES[0].full, precision=precision), native)
    assert (found.precision, found.dtype) == expected


@pytest.fixture
def native(monkeypatch):
    """Sets whether the hardware has bfloat16."""

    def set_(value):
        monkeypatch.setattr("benchmarks.fast.measure.native_bfloat16", lambda: value)
        monkeypatch.setattr(program, "native_bfloat16", lambda: value)

    return set_


def test_all_figures_are_there_and_emulated_ones_are_small_and_have_a_stand_in(native):
    native(True)
    assert {case.id for case in program._chosen(None)} == IDS
    full = CASES[0].full
    assert program.size_of(CASES[0], False).batch == full.batch > HEAD_EMULATED.batch
    native(False)
    extra = {case.id for case in program._chosen(None)} - IDS
    assert extra == {"head_train_fp32", "head_matmul_share_fp32"}
    by_id = {case.id: case for case in CASES}
    for name in ("head_train_bf16", "head_matmul_share"):
        small = program.size_of(by_id[name], False)
        assert (small.precision, small.batch * small.max_length) == ("bf16", 64)
    assert by_id["head_train_fp32"].target == by_id["head_train_bf16"].target
    with pytest.raises(UserError, match="no case nothing; there are head_train_bf16"):
        program._chosen("nothing")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_no_epoch_ends_within_a_measurement(case):
    """At its end the product validates, and the reference does not."""
    for settings in (case.full, case.short, case.emulated or case.full):
        assert settings.batch % settings.ours_batch == 0
        assert settings.batch % settings.reference_batch == 0
        if case.by_turns and ":train" in case.ours:
            steps = 1 + settings.steps * settings.repetitions
            assert settings.train >= steps * settings.batch


def fake(case, settings):
    if case.id == "head_train_nf4":
        raise WorkerError("it broke")
    return {"value": 3.0, "low": 2.0, "high": 4.0, "repetitions": [], "made_on": MADE}


MADE = {"cpu": "A", "cores": 2, "threads": 2}


def test_what_holds_is_not_measured_again_and_what_breaks_stops_nothing(tmp_path, caplog):
    results, asked = Results(tmp_path), []

    def measured(case, settings):
        asked.append(case.id)
        return fake(case, settings)

    with caplog.at_level(logging.INFO):
        assert program.run(CASES, results, True, False, measured) == ["head_train_nf4"]
    assert asked == [case.id for case in CASES]
    assert "head_train_nf4: it broke" in caplog.text
    asked.clear()
    program.run(CASES, results, True, False, measured)
    assert asked == ["head_train_nf4"]
    asked.clear()
    program.run(CASES[:2], results, True, True, measured)
    program.run(CASES[:1], results, False, False, measured)  # another size
    assert asked == [CASES[0].id, CASES[1].id, CASES[0].id]


def test_a_key_goes_by_the_measured_code(tmp_path):
    for folder in MEASURED:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("1")
    case, settings = CASES[0], CASES[0].full
    before = key_of(case, settings, tmp_path)
    (tmp_path / "README.md").write_text("2")
    assert key_of(case, settings, tmp_path) == before
    (tmp_path / MEASURED[-1] / "a.py").write_text("2")
    assert key_of(case, settings, tmp_path) != before
    assert all((ROOT / folder).is_dir() for folder in MEASURED)


def test_the_summary_has_what_was_measured_and_a_command_that_measures_it(tmp_path):
    results = Results(tmp_path)
    program.run(CASES, results, False, False, fake)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert set(found) >= IDS - {"head_train_nf4"}
    assert found["head_time_to_f1"] == {
        "value": 3.0,
        "low": 2.0,
        "high": 4.0,
        "target": 5.0,
        "unit": "× sooner",
        "command": "python -m benchmarks.fast run --only head_time_to_f1",
    }


def test_a_row_says_whether_the_target_is_reached(tmp_path):
    results = Results(tmp_path)
    program.run(CASES, results, False, False, fake)
    lines = list(table(CASES, results.all(CASES)))

    def row(id_):
        return next(line for line in lines if f"`{id_}` |" in line)

    assert "3.00 (2.00–4.00) | ≥ 2.5 × real tokens/s | yes" in row("head_train_fp32")
    assert "≥ 5 × sooner | no" in row("head_time_to_f1")
    assert "≤ 0.7 × the memory | no" in row("head_train_memory_nf4")
    assert "not measured yet" in row("head_train_nf4")
    assert lines[-1].startswith("- A, 2 cores, 2 of them used: `head_train_bf16`")


def test_a_table_takes_the_place_of_the_last_one():
    page = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert replace_table(page, ["new", "er"]) == f"above\n{BEGIN}\nnew\ner\n{END}\nbelow\n"
    with pytest.raises(ValueError, match="fast: begin"):
        replace_table("no markers", [])


def test_the_readmes_table_and_the_summary_are_those_of_the_result_files(tmp_path):
    results = Results(program.RESULTS)
    readme = program.README.read_text("utf-8")
    assert replace_table(readme, program.lines_of(results)) == readme
    copy = Results(tmp_path)
    for case in CASES:
        if found := results.read(case):
            copy.write(case, found)
    copy.summarise(CASES)
    kept = program.RESULTS / "summary.json"
    assert kept.exists() == bool(results.all(CASES))
    if kept.exists():
        assert (tmp_path / "summary.json").read_text("utf-8") == kept.read_text("utf-8")
