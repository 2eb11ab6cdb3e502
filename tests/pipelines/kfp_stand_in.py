"""A stand-in of Kubeflow Pipelines' API v2beta1 on loopback. It is not Kubeflow.

It was written from the API definitions in the ``kfp_server_api`` package (paths, models, states)
and runs nothing: states come from a script. No Kubeflow was run against these tests. What it does
for real: it refuses wrong credentials, fields that the API does not define, a pipeline that does
not parse into the PipelineSpec and Kubernetes protos, a dangling reference, parameters that the
pipeline lacks or does not have, and a cron expression without six fields.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
from cronsim import CronSim, CronSimError

from tests.pipelines.spec_checks import check_pipeline

LOGIN = b"<html><body>Log in to Your Account</body></html>"


class Refused(Exception):
    """An HTTP status with the body that grpc-gateway makes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Kubeflow:
    """The server's state and manners.

    Attributes:
        token: the only one accepted; None: none is needed.
        cookie: without it, the login page is the answer to everything.
        namespaces: of a server of several users; empty: a single-user server.
        base: path in front of ``/apis``.
        version: of the API.
        release: Kubeflow's tag, which its generated client drops.
        stories: what each look at a run shows, in turn; the last one stays.
        broken: so many looks at a run fail with 503 first.
        on_look: called at each look at a run.
        seen: method and path of all requests.
    """

    token: str | None = None
    cookie: str | None = None
    namespaces: tuple[str, ...] = ()
    base: str = ""
    version: str = "v2beta1"
    release: str = "2.17.0"
    stories: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    broken: int = 0
    on_look: Callable[[], None] = lambda: None
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, url: str, headers: Any, body: Any) -> Any:
        """The JSON answer to a request.

        Raises:
            Refused: with an HTTP status.
        """
        parts = urlsplit(url)
        self.seen.append(f"{method} {parts.path}")
        if self.token and headers["Authorization"] != f"Bearer {self.token}":
            raise Refused(401, "Request header error: there is no user identity header.")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        root = f"{self.base}/apis/{self.version}/"
        if not parts.path.startswith(root):
            raise Refused(404, "Not Found")
        kind, _, identifier = parts.path.removeprefix(root).partition("/")
        name = f"_{method.lower()}_{kind}" + ("_one" if identifier else "")
        if not (handler := getattr(self, name, None)):
            raise Refused(501, "Method Not Allowed")
        return handler(identifier) if identifier else handler(query, body)

    def _get_healthz(self, query: dict[str, str], body: Any) -> Any:
        return {"tag_name": self.release, "multi_user": bool(self.namespaces)}

    def _permit(self, namespace: str) -> None:
        if not self.namespaces and namespace:
            raise Refused(400, "In single-user mode, a request shouldn't contain a namespace")
        if self.namespaces and namespace not in self.namespaces:
            raise Refused(403, f"User 'anna' is not authorized in the namespace {namespace!r}")

    def _get_experiments(self, query: dict[str, str], body: Any) -> Any:
        self._permit(query.get("namespace", ""))
        return {"experiments": _matching(self.experiments, query)}

    def _post_experiments(self, query: dict[str, str], body: Any) -> Any:
        _defined(body, api.V2beta1Experiment)
        self._permit(body.get("namespace", ""))
        made = body | {"experiment_id": str(uuid.uuid4()), "storage_state": "AVAILABLE"}
        self.experiments.append(made)
        return made

    def _known(self, experiment: str) -> None:
        if experiment not in [e["experiment_id"] for e in self.experiments]:
            raise Refused(404, f"Experiment {experiment} not found")

    def _post_runs(self, query: dict[str, str], body: Any) -> Any:
        _defined(body, api.V2beta1Run)
        self._known(body["experiment_id"])
        with _refusing(ValueError, "request"):
            check_pipeline(body)
        made = body | {"run_id": str(uuid.uuid4()), "state": "PENDING"}
        self.runs[made["run_id"]] = made
        return made

    def _get_runs_one(self, identifier: str) -> Any:
        if identifier not in self.runs:
            raise Refused(404, f"Run {identifier} not found")
        self.on_look()
        if self.broken:
            self.broken -= 1
            raise Refused(503, "upstream connect error")
        story = self.stories.pop(0) if len(self.stories) > 1 else self.stories[0]
        return self.runs[identifier] | story

    def _get_recurringruns(self, query: dict[str, str], body: Any) -> Any:
        self._known(query["experiment_id"])
        found = [r for r in self.recurring.values() if r["experiment_id"] == query["experiment_id"]]
        begin, size = int(query.get("page_token") or 0), min(int(query["page_size"]), 2)
        found = _matching(found, query)
        more = {"next_page_token": str(begin + size)} if begin + size < len(found) else {}
        return {"recurringRuns": found[begin : begin + size]} | more

    def _post_recurringruns(self, query: dict[str, str], body: Any) -> Any:
        _defined(body, api.V2beta1RecurringRun)
        self._known(body["experiment_id"])
        with _refusing(ValueError, "request"):
            check_pipeline(body)
        cron = body["trigger"]["cron_schedule"]["cron"]
        with _refusing((CronSimError, AssertionError), "cron"):
            assert len(cron.split()) == 6
            CronSim(cron, datetime.now())
        made = body | {"recurring_run_id": str(uuid.uuid4()), "status": "ENABLED"}
        self.recurring[made["recurring_run_id"]] = made
        return made

    def _delete_recurringruns_one(self, identifier: str) -> Any:
        if not self.recurring.pop(identifier, None):
            raise Refused(404, f"RecurringRun {identifier} not found")
        return {}


def _matching(things: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        if predicate["operation"] not in (1, "EQUALS"):
            raise Refused(400, "unknown operation")
        things = [t for t in things if t[predicate["key"]] == predicate["stringValue"]]
    return things


def _defined(body: dict[str, Any], model: Any) -> None:
    if unknown := set(body) - set(model.attribute_map.values()):
        raise Refused(400, f"unknown fields: {sorted(unknown)}")


@contextlib.contextmanager
def _refusing(errors: Any, what: str) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise Refused(400, f"invalid {what}: {error}") from None


@contextlib.contextmanager
def serve(kubeflow: Kubeflow, certificate: Path | None = None) -> Iterator[Kubeflow]:
    """The stand-in on a free port of the loopback address; ``certificate``: PEM, with its key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(kubeflow))
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    kubeflow.url = f"{scheme}://127.0.0.1:{server.server_port}{kubeflow.base}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield kubeflow
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(kubeflow: Kubeflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            body = json.loads(self.rfile.read(length) or "null")
            if kubeflow.cookie and self.headers["Cookie"] != kubeflow.cookie:
                return self._send(200, "text/html; charset=utf-8", LOGIN)
            try:
                answer, status = kubeflow.answer(self.command, self.path, self.headers, body), 200
            except Refused as error:
                answer, status = {"error": str(error), "message": str(error)}, error.status
            return self._send(status, "application/json", json.dumps(answer).encode())

        do_GET = do_POST = do_DELETE = _any

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the terminal."""

    return Handler
