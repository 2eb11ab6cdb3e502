"""A shared MLflow that is killed, comes back, was never there, or swallows every packet."""

import logging
import socket
import time

import pytest
from mlflow.exceptions import MlflowException, RestException
from requests import HTTPError

from llmclf_core.errors import UserError
from llmclf_core.registry import client as client_module
from llmclf_core.registry.client import http_limits, require_reachable, unreachable
from llmclf_core.registry.runs import close_parent
from llmclf_core.registry.tracking import Tracker, replay
from tests.mlflow_helpers import free_port, points, run_of, use_store

EXPECTED = [(step, float(step)) for step in range(30)]


@pytest.fixture
def black_hole():
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def log_steps(tracker, first, last):
    """Log steps; the longest time one call took, in seconds."""
    longest = 0.0
    for step in range(first, last):
        began = time.monotonic()
        tracker.metrics({"loss": float(step)}, step)
        longest = max(longest, time.monotonic() - began)
    return longest


def test_server_killed_in_the_middle(server, tmp_path, monkeypatch, caplog):
    """Two runs: one lasts until the server is back, the other ends before and is replayed."""
    client = use_store(server.uri, monkeypatch, "outage")
    (tmp_path / "report.html").write_text("<p>")
    with Tracker.open(tmp_path / "j", run_key="lasting", name="n") as lasting:
        lasting.params({"a": 1})
        log_steps(lasting, 0, 10)
        with Tracker.open(tmp_path / "short", run_key="short", name="n") as short:
            log_steps(short, 0, 15)
            assert short.flush()
            assert lasting.flush()
            server.kill()
            assert log_steps(short, 15, 30) < 2
        log_steps(lasting, 10, 20)
        assert not lasting.flush()
        assert not replay(tmp_path / "short")
        server.start()
        log_steps(lasting, 20, 30)
        lasting.artifact(tmp_path / "report.html", "report")
    for _ in range(2):
        assert replay(tmp_path / "short")
    for key in ("lasting", "short"):
        run = run_of(client, key, "outage")
        assert run.info.status == "FINISHED"
        assert points(client, run.info.run_id, "loss") == EXPECTED
    run_id = run_of(client, "lasting", "outage").info.run_id
    assert [f.path for f in client.list_artifacts(run_id, "report")] == ["report/report.html"]
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len([m for m in messages if "cannot be used (" in m and str(lasting.path) in m]) == 1
    assert len([m for m in messages if "MLflow does not have" in m]) == 1


def test_answer_lost_after_the_server_had_stored_it(store, tmp_path, monkeypatch):
    """The dangerous failure: the call arrived, but nobody knows."""
    from mlflow import MlflowClient

    real, failures = MlflowClient.log_batch, []

    def lossy(self, *args, **kwargs):
        real(self, *args, **kwargs)
        if len(failures) < 2:
            failures.append(1)
            raise ConnectionError("Connection reset by peer")

    monkeypatch.setattr(MlflowClient, "log_batch", lossy)
    with Tracker.open(tmp_path / "j", run_key="lost", name="n") as tracker:
        tracker.params({"a": 1})
        log_steps(tracker, 0, 30)
        for _ in range(5):
            tracker.flush()
    run = run_of(store, "lost")
    assert len(failures) == 2
    assert points(store, run.info.run_id, "loss") == EXPECTED
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("place", ["refused", "swallowed", "unknown"])
def test_dead_server_costs_little(black_hole, place, tmp_path, monkeypatch, caplog):
    uri = {
        "refused": f"http://user:hunter2@127.0.0.1:{free_port()}",
        "swallowed": black_hole,
        "unknown": "http://no-such-host.invalid:5000",
    }[place]
    monkeypatch.setattr(client_module, "_KNOCK_SECONDS", 2)
    use_store(uri, monkeypatch)
    began = time.monotonic()
    tracker = Tracker.open(tmp_path / "j", run_key="k", name="n")
    assert log_steps(tracker, 0, 20) < 2
    assert time.monotonic() - began < 5
    tracker.close("FINISHED")
    assert time.monotonic() - began < 20
    assert "hunter2" not in caplog.text
    assert "the work goes on" in caplog.text


@pytest.mark.parametrize("place", ["refused", "swallowed"])
def test_unreachable_is_one_clear_message_soon(black_hole, place):
    uri = black_hole
    if place == "refused":
        uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(UserError) as caught, http_limits(10, 2):
        require_reachable(uri, "The trained classifier is kept in /models/x.")
    assert time.monotonic() - began < 15
    message = str(caught.value)
    assert uri.replace("user:hunter2", "***") in message
    assert "kept in /models/x. Start the server" in message
    assert "run again: finished steps are reused" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (RestException({"error_code": "PERMISSION_DENIED"}), "register.name in the recipe"),
        (HTTPError("403 Client Error. Response text: Permission denied"), "tracking.experiment"),
        (MlflowException("You are not authenticated"), "Correct MLFLOW_TRACKING_USERNAME"),
        (PermissionError(13, "Permission denied", "/models/x"), "Start the server"),
    ],
)
def test_what_stands_in_the_way_has_a_cure(error, cure):
    message = str(unreachable("http://h", error, "It is kept."))
    assert cure in message
    assert ("Start the server" in message) is (cure == "Start the server")


def test_no_uri_is_refused():
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI is not set"):
        require_reachable(None, "")


def test_broken_database_is_told_soon(tmp_path):
    (tmp_path / "mlflow.db").mkdir()
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be used: .*unable to open database file"):
        require_reachable(f"sqlite:///{tmp_path}/mlflow.db", "")
    assert time.monotonic() - began < 5


def test_limits_leave_the_users_settings_and_go_away(monkeypatch):
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with http_limits(5, 0):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_parent_of_a_dead_server_is_only_a_warning(monkeypatch, caplog):
    use_store(f"http://127.0.0.1:{free_port()}", monkeypatch)
    assert not close_parent("FINISHED", {"f1": 1.0}, "exec-1")
    assert "cannot be used (connection refused)" in caplog.text
