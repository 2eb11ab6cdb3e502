"""Studies are run once, in time, and the table of two real ones."""

import json
import logging
import os
from dataclasses import replace
from unittest import mock

import pytest

from benchmarks.claims import __main__ as program
from benchmarks.claims import table
from benchmarks.claims.plan import STUDIES
from benchmarks.claims.state import State, run_all
from benchmarks.claims.study import Study, Variant
from benchmarks.claims.table import write_table
from llmclf_core.errors import UserError
from tests.conftest import WORDS
from tests.forks import forked_steps
from tests.pipelines.conftest import write_task

RECIPE = {"ingest": {"source": "x.csv"}, "base": {"source": "x"}}


class Clock:
    """Seconds that pass only while a study runs."""

    def __init__(self, state):
        self.seconds, self.state, self.ran = 0.0, state, []

    def __call__(self):
        return self.seconds

    def execute(self, study, state):
        self.ran.append(study.name)
        self.seconds += study.seconds
        if study.name == "broken":
            raise UserError("it broke")
        state.finish(study, {"run": study.name})


def small_plan():
    seconds = {"long": 1000, "broken": 100, "longer": 3000, "short": 500}
    return [Study(name, name, RECIPE, s) for name, s in seconds.items()]


def test_a_study_that_is_done_is_not_run_again(tmp_path):
    state = State(tmp_path / "state", tmp_path / "kept")
    clock = Clock(state)
    assert run_all(small_plan(), state, 2, clock.execute, clock) == ["broken"]
    assert clock.ran == ["long", "broken", "longer", "short"]
    again = Clock(state)
    run_all(small_plan(), state, 2, again.execute, again)
    assert again.ran == ["broken"]


def test_a_study_with_another_recipe_is_run(tmp_path):
    state = State(tmp_path / "state", tmp_path / "kept")
    state.finish(small_plan()[0], {})
    changed = replace(small_plan()[0], recipe=RECIPE | {"seeds": [1]})
    clock = Clock(state)
    run_all([changed], state, 2, clock.execute, clock)
    assert clock.ran == ["long"]


def test_a_study_that_would_take_too_long_is_not_started(tmp_path, caplog):
    state = State(tmp_path / "state", tmp_path / "kept")
    clock = Clock(state)
    with caplog.at_level(logging.INFO):
        run_all(small_plan(), state, 1, clock.execute, clock)
    assert clock.ran == ["long", "broken", "short"]  # a shorter one still fits
    assert "longer: not started, it takes about 50 min and 42 min are left" in caplog.text


def test_a_killed_study_is_not_done(tmp_path):
    state = State(tmp_path / "state", tmp_path / "kept")

    def killed(study, state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(small_plan(), state, 2, killed)
    assert state.result(small_plan()[0]) is None


def test_the_plan_fits_and_its_variants_have_the_rows_of_what_they_vary():
    assert sum(study.seconds for study in STUDIES) < 3 * 3600
    by_name = {study.name: study for study in STUDIES}
    assert len(by_name) == len(STUDIES)
    for study in STUDIES:
        assert str(study.parsed().ingest.source).count("${LLMCLF_CACHE}") >= 1  # no machine's place
        if study.variant:
            usual = by_name[study.variant.of].parsed()
            assert study.parsed().ingest == usual.ingest
            assert set(study.parsed().seeds) <= set(usual.seeds)


def test_settings_of_the_plan_are_told_once_and_without_loss():
    told = table.settings(STUDIES)
    shared = told.pop("shared")
    assert shared["training.loss"] == "cross_entropy"
    for study in STUDIES:
        own = told[study.name]
        assert shared | own == dict(table.flat(study.parsed().model_dump(mode="json")))


def test_an_unknown_study_is_refused():
    with pytest.raises(UserError, match="no study nothing; there are bbc-64"):
        program._chosen("nothing")


def real_plan(root):
    task = write_task(root)
    recipe = {k: v for k, v in task.recipe.items() if k != "name"} | {
        "ingest": task.recipe["ingest"] | {"source": str(root / "data.csv")},
        "approaches": ["tfidf", "head"],
        "head": {"pooling": "mean"},
        "training": task.recipe["training"] | {"epochs": 1},
    }
    last = recipe | {"approaches": ["head"], "head": {"pooling": "last"}}
    variant = Variant("tiny", "head", "pooling", "last", "mean")
    return task, [
        Study("tiny", "Tiny", recipe, 10),
        Study("tiny-last", "Tiny, last", last, 10, variant),
        Study("later", "Never run", recipe | {"seeds": [7]}, 7200),
    ]


def test_two_studies_and_their_table(tmp_path):
    task, studies = real_plan(tmp_path)
    state, output = State(tmp_path / "state", tmp_path / "kept"), tmp_path / "results"
    with forked_steps(), mock.patch.dict(os.environ, task.environment(), clear=True):
        assert run_all(studies, state, 1, program.execute) == []
        write_table(studies, state, output)
    data = json.loads((output / "claims.json").read_text())
    summary = state.result(studies[0])
    head = next(a for a in summary["approaches"] if a["approach"] == "head")
    written = data["studies"]["tiny"]
    assert written["approaches"]["head"]["score"] == head["metrics"]["macro_f1"]["mean"]
    assert written["rows"] == {"train": 84, "validation": 12, "test": 24}
    assert data["not_run"] == ["later"]
    pooling = next(c for c in data["contrasts"] if c["family"] == "pooling")
    other = state.result(studies[1])["approaches"][0]["metrics"]["macro_f1"]["mean"]
    assert pooling["difference"] == pytest.approx(other - written["approaches"]["head"]["score"])
    calibrated = {(c["study"], c["a"]) for c in data["contrasts"] if c["family"] == "calibration"}
    assert calibrated == {("tiny", "tfidf after"), ("tiny", "head after")}
    text = (output / "claims.md").read_text()
    assert "Not run: Never run." in text
    assert "| C5 pooling: " in text
    assert str(tmp_path) not in text
    what_is_kept_is_enough_and_names_no_text_or_place(task, studies, state, output)
    table_again_refuses_other_evaluations(studies, state, output)


def what_is_kept_is_enough_and_names_no_text_or_place(task, studies, state, output):
    before = (output / "claims.json").read_text()
    elsewhere = State(task.root / "another-machine", state.kept)
    assert all(elsewhere.result(study) for study in studies[:2])
    write_table(studies, elsewhere, output)
    assert (output / "claims.json").read_text() == before
    files = [file for file in state.kept.rglob("*") if file.is_file()]
    assert {file.name.partition(".")[2] for file in files} == {"json", "arrow"}
    word = WORDS["sport"][0]
    assert word in (task.root / "data.csv").read_text()
    for file in files:
        content = file.read_bytes()
        assert word.encode() not in content, file
        assert str(task.root).encode() not in content, file


def table_again_refuses_other_evaluations(studies, state, output):
    file = next(state.kept.glob(f"{studies[0].name}-{studies[0].key}/study.json"))
    summary = json.loads(file.read_text())
    summary["approaches"][1]["metrics"]["macro_f1"]["mean"] += 0.1
    file.write_text(json.dumps(summary))
    with pytest.raises(UserError, match="its evaluations of head are not those of its summary"):
        table.write_table(studies, state, output)
