import logging
import math
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from llmclf_core.errors import UserError
from llmclf_core.registry.journal import JOURNAL, read_journal
from llmclf_core.registry.system_metrics import system_metrics
from llmclf_core.registry.tracking import Tracker, replay
from tests.mlflow_helpers import EXPERIMENT, all_runs, points, run_of


def entries_of(path, operation):
    return [e for e in read_journal(path) if e["op"] == operation]


def test_everything_arrives(store, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    (tmp_path / "report.html").write_text("<p>")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_text("{}")
    with Tracker.open(tmp_path / "j", run_key="k", name="head", tags={"seed": 3}) as tracker:
        tracker.params({"lr": 1e-3, "long": "x" * 7000})
        for step in range(3):
            tracker.metrics({"loss": 1.0 / (step + 1)}, step)
        tracker.dataset("f" * 16, "bbc", "/data/bbc.csv", 10, "train")
        tracker.dataset("f" * 16, "bbc", "/data/bbc.csv", 4, "test")
        tracker.artifact(tmp_path / "report.html", "report")
        tracker.artifact(tmp_path / "folder")
        run_id = tracker.run_id
    run = run_of(store, "k")
    assert run.info.run_id == run_id
    assert (run.info.status, run.info.run_name) == ("FINISHED", "head")
    assert run.data.params == {"lr": "0.001", "long": "x" * 6000}
    assert run.data.tags["seed"] == "3"
    assert points(store, run_id, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    inputs = {(i.dataset.name, i.dataset.digest): i for i in run.inputs.dataset_inputs}
    assert set(inputs) == {("bbc/train", "f" * 16), ("bbc/test", "f" * 16)}
    assert inputs["bbc/test", "f" * 16].tags[0].value == "test"
    assert [f.path for f in store.list_artifacts(run_id, "report")] == ["report/report.html"]
    assert [f.path for f in store.list_artifacts(run_id, "folder")] == ["folder/a.json"]
    parent = store.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["llmclf.pipeline_run"] == "exec-1"
    assert run.info.artifact_uri.startswith(f"file://{tmp_path}/store/artifacts")


def test_replay_doubles_nothing(store, tmp_path):
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        tracker.params({"a": 1})
        tracker.metrics({"loss": 1.0, "nan": math.nan}, 0)
        tracker.metrics({"f1": 0.5, "inf": math.inf, "none": math.nan})
        tracker.dataset("d", "c", "s", 1, "train")
    before = run_of(store, "k")
    assert replay(tmp_path / "j")
    after = run_of(store, "k")
    assert after.info.end_time == before.info.end_time
    for name in ("loss", "nan", "f1", "inf", "none"):
        assert len(store.get_metric_history(after.info.run_id, name)) == 1, name
    assert len(after.inputs.dataset_inputs) == 1
    assert len(all_runs(store)) == 1


def test_replay_into_an_empty_store_makes_the_same_run(store, tmp_path, new_store):
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        tracker.metrics({"loss": 2.0}, 4)
    first = run_of(store, "k")
    other = new_store("other")
    assert replay(tmp_path / "j")
    second = run_of(other, "k")
    assert second.info.run_id != first.info.run_id
    assert second.info.start_time == first.info.start_time
    assert second.info.end_time == first.info.end_time
    assert second.info.status == "FINISHED"
    (one,), (two,) = (
        client.get_metric_history(run.info.run_id, "loss")
        for client, run in ((store, first), (other, second))
    )
    assert (one.value, one.step, one.timestamp) == (two.value, two.step, two.timestamp)


def test_restart_goes_on_with_the_same_run(store, tmp_path):
    def attempt():
        with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
            tracker.params({"a": 1})
            for step in range(4):
                tracker.metrics({"loss": float(step)}, step)
            raise RuntimeError("boom at http://u:secret@h/x")

    with pytest.raises(RuntimeError, match="boom"):
        attempt()
    run = run_of(store, "k")
    assert run.info.status == "FAILED"
    assert run.data.tags["llmclf.error"] == "RuntimeError: boom at http://***@h/x"
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        assert tracker.run_id == run.info.run_id
        assert tracker.flush()
        assert run_of(store, "k").info.status == "RUNNING"
        tracker.params({"a": 1})
        for step in range(2, 6):  # steps 2 and 3 were lost with the checkpoint and come again
            tracker.metrics({"loss": 10.0 + step}, step)
    run = run_of(store, "k")
    assert run.info.status == "FINISHED"
    expected = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0)]
    assert points(store, run.info.run_id, "loss") == expected


def test_same_key_is_the_same_run_even_without_its_journal(store, tmp_path):
    for attempt in range(2):
        with Tracker.open(tmp_path / f"j{attempt}", run_key="k", name="n") as tracker:
            tracker.metrics({"loss": 1.0}, 0)
            assert tracker.flush()
            assert run_of(store, "k").info.status == "RUNNING"
        run = run_of(store, "k")
        assert run.info.status == "FINISHED"
    assert points(store, run.info.run_id, "loss") == [(0, 1.0)]


def test_final_figure_is_replaced_and_an_equal_one_is_not_repeated(store, tmp_path):
    for value in (0.5, 0.5, 0.7):
        with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
            tracker.metrics({"f1": value})
    run = run_of(store, "k")
    assert run.data.metrics["f1"] == 0.7
    assert points(store, run.info.run_id, "f1") == [(0, 0.5), (0, 0.7)]


def test_interrupt_ends_as_killed(store, tmp_path):
    with pytest.raises(KeyboardInterrupt), Tracker.open(tmp_path / "j", run_key="k", name="n"):
        raise KeyboardInterrupt
    assert run_of(store, "k").info.status == "KILLED"


def test_changed_parameter_does_not_block_the_rest(store, tmp_path, caplog):
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        tracker.params({"a": 1})
        tracker.params({"a": 2, "b": 3})
    assert run_of(store, "k").data.params == {"a": "1", "b": "3"}
    assert "parameter a stays '1', not '2'" in caplog.text


def test_lost_artifact_is_told_and_does_not_block(store, tmp_path, caplog):
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        tracker.artifact(tmp_path / "gone.txt")
    assert "gone.txt is gone" in caplog.text
    assert run_of(store, "k").info.status == "FINISHED"


def test_more_than_mlflow_takes_in_one_call(store, tmp_path):
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        tracker.params({f"p{i}": i for i in range(250)})
        tracker.tags({f"t{i}": "x" * 9000 for i in range(120)})
        tracker.metrics({f"m/{i} [%]": i for i in range(1100)}, 0)
    run = run_of(store, "k")
    assert len(run.data.params) == 250
    assert len([t for t in run.data.tags if t.startswith("t")]) == 120
    assert len(run.data.metrics) == 1100
    assert run.data.metrics["m/7 ___"] == 7.0


def test_without_a_store_only_the_journal_is_written(tmp_path, caplog):
    with (
        caplog.at_level(logging.INFO),
        Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker,
    ):
        tracker.metrics({"loss": 1.0}, 0)
        assert tracker.run_id is None
        assert not tracker.flush()
    assert [e["op"] for e in read_journal(tmp_path / "j")] == ["run", "resume", "metrics", "end"]
    assert caplog.text.count("MLFLOW_TRACKING_URI is not set") == 1
    assert not replay(tmp_path / "j")


def test_journal_of_another_run_is_refused(tmp_path):
    with Tracker.open(tmp_path / "j", run_key="k", name="n"):
        pass
    with pytest.raises(UserError, match=r"j belongs to another run \(k, not other\)"):
        Tracker.open(tmp_path / "j", run_key="other", name="n")


def test_evaluate_goes_on_with_the_training_run(tmp_path, monkeypatch, new_store):
    """Training had no server; the later step sends both parts, and only reads the classifier."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    classifier = tmp_path / "classifier"
    with Tracker.open(tmp_path / "j", run_key="k", name="head") as tracker:
        tracker.metrics({"loss": 1.0}, 0)
        classifier.mkdir()
        (classifier / JOURNAL).write_bytes((tmp_path / "j").read_bytes())
    store = new_store("store")
    before = (classifier / JOURNAL).read_bytes()
    for _ in range(2):  # the step is repeated
        with Tracker.resume(classifier, tmp_path / "evaluate" / JOURNAL) as tracker:
            tracker.metrics({"test/macro_f1": 0.9})
    assert (classifier / JOURNAL).read_bytes() == before
    (run,) = all_runs(store)
    assert points(store, run.info.run_id, "loss") == [(0, 1.0)]
    assert points(store, run.info.run_id, "test/macro_f1") == [(0, 0.9)]
    assert run.info.status == "FINISHED"


def test_classifier_without_journal_gets_a_run(store, tmp_path):
    (tmp_path / "classifier").mkdir()
    for _ in range(2):
        with Tracker.resume(tmp_path / "classifier", tmp_path / "j") as tracker:
            tracker.metrics({"test/macro_f1": 0.9})
    (run,) = all_runs(store)
    assert run.info.run_name == "classifier"


def test_two_runs_at_once_do_not_mix(store, tmp_path, monkeypatch):
    def train(number):
        with Tracker.open(tmp_path / f"j{number}", run_key=f"k{number}", name="n") as tracker:
            for step in range(20):
                tracker.metrics({"loss": float(number)}, step)

    threads = [threading.Thread(target=train, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        run = run_of(store, f"k{number}")
        assert points(store, run.info.run_id, "loss") == [(s, float(number)) for s in range(20)]


def test_system_metrics_go_on_counting(store, tmp_path):
    name = "system/cpu_utilization_percentage"
    for _ in range(2):
        with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
            with system_metrics(tracker, seconds=0.05):
                while tracker.next_step(name) < 3 * len(entries_of(tmp_path / "j", "end")) + 3:
                    threading.Event().wait(0.02)
            after = tracker.next_step(name)
    run = run_of(store, "k")
    steps = [step for step, _ in points(store, run.info.run_id, name)]
    assert steps == list(range(after))
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 1
    assert not [t for t in threading.enumerate() if t.name == "system-metrics"]


def test_trouble_with_system_metrics_ends_only_them(store, tmp_path, monkeypatch, caplog):
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    def broken(self):
        raise OSError("no /proc here")

    monkeypatch.setattr(CPUMonitor, "collect_metrics", broken)
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        with system_metrics(tracker, seconds=0.01):
            threading.Event().wait(0.2)
        tracker.metrics({"loss": 1.0}, 0)
    assert "system metrics end here: OSError: no /proc here" in caplog.text
    assert run_of(store, "k").data.metrics == {"loss": 1.0}


KILLED = """
    import os
    from pathlib import Path
    from llmclf_core.registry import courier
    from llmclf_core.registry.tracking import Tracker

    if {silent}:
        courier.Courier.put = lambda self, entry: None  # in the journal, never sent
    with Tracker.open(Path("j"), run_key="k", name="n") as tracker:
        tracker.params({{"a": 1}})
        for step in range({first}, {last}):
            tracker.metrics({{"loss": float(step)}}, step)
        if not {silent}:
            tracker.flush()
            tracker.metrics({{"loss": float({last})}}, {last})
        os._exit(9)
"""


@pytest.mark.parametrize("silent", [True, False])
def test_killed_process_loses_and_doubles_nothing(store, tmp_path, silent):
    program = textwrap.dedent(KILLED.format(silent=silent, first=0, last=5))
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment)
    assert done.returncode == 9
    with Tracker.open(tmp_path / "j", run_key="k", name="n") as tracker:
        for step in range(3, 8):
            tracker.metrics({"loss": float(step)}, step)
    run = run_of(store, "k")
    assert run.info.status == "FINISHED"
    assert points(store, run.info.run_id, "loss") == [(s, float(s)) for s in range(8)]
    assert run.data.params == {"a": "1"}


def test_secrets_reach_neither_journal_nor_store(store, tmp_path):
    secret = "hunter2secret"
    with Tracker.open(tmp_path / "j", run_key="k", name=f"http://u:{secret}@h") as tracker:
        tracker.params({"uri": f"postgresql://u:{secret}@db/x"})
        tracker.tags({"where": f"https://h?token={secret}"})
        tracker.dataset("d", "c", f"s3://k:{secret}@bucket/x", 1, "train")
    assert secret not in (tmp_path / "j").read_text()
    for path in (tmp_path / "store").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
