"""Large files: a server is silent until it has stored one, or fetched it."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from llmclf_core.registry import transfer
from llmclf_core.registry.client import http_limits

SILENCE = 1.3  # seconds, more than the limit below
LIMIT = 1
FILES = "/api/2.0/mlflow-artifacts/artifacts/1/model/"


class SlowServer(BaseHTTPRequestHandler):
    """Takes and gives files after a pause; answers nothing else any sooner."""

    stored: dict[str, bytes]

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SILENCE)
        self.stored[self.path] = content
        self._answer(b"")

    def do_GET(self):
        listing = self.path.startswith(FILES.removesuffix("/1/model/") + "?")
        if not listing:
            time.sleep(SILENCE)
        self._answer(b"{}" if listing else self.stored.get(self.path, b""))

    def _answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def slow(monkeypatch):
    """(URI, the files that were stored)."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    handler = type("Handler", (SlowServer,), {"stored": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.stored
        server.shutdown()


def test_a_file_has_time_where_other_calls_have_none(slow, tmp_path):
    uri, stored = slow
    (tmp_path / "weights").write_bytes(b"0123456789")
    with http_limits(LIMIT, 0):
        files = get_artifact_repository("mlflow-artifacts:/1/model", tracking_uri=uri)
        files.log_artifact(str(tmp_path / "weights"), "below")
        assert stored == {f"{FILES}below/weights": b"0123456789"}
        (tmp_path / "back").mkdir()
        found = files.download_artifacts("below/weights", str(tmp_path / "back"))
        with pytest.raises(MlflowException, match="timed out"):
            MlflowClient(uri).get_run("any")
    with open(found, "rb") as back:
        assert back.read() == b"0123456789"


def test_a_file_does_not_wait_for_ever(slow, tmp_path, monkeypatch):
    uri, _ = slow
    monkeypatch.setattr(transfer, "SECONDS", LIMIT)
    (tmp_path / "weights").write_bytes(b"0123456789")
    with http_limits(LIMIT, 0):
        files = get_artifact_repository("mlflow-artifacts:/1/model", tracking_uri=uri)
        with pytest.raises(MlflowException, match="timed out"):
            files.log_artifact(str(tmp_path / "weights"))
