"""The way to a Kubeflow Pipelines server: address, credentials, time limits, plain errors."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from llmclf_core.errors import UserError
from pipelines.kubeflow.errors import WebPage, explain

log = logging.getLogger(__name__)

HOST = "KF_PIPELINES_ENDPOINT"
UI = "KF_PIPELINES_UI_ENDPOINT"
TOKEN = "LLMCLF_KFP_TOKEN"  # noqa: S105  (a name, no secret)
COOKIE = "LLMCLF_KFP_COOKIE"
IN_CLUSTER_HOST = "http://ml-pipeline-ui.kubeflow.svc.cluster.local"

_TAG = re.compile(r"v?(\d+)\.(\d+)")
_LIMITS = (5, 60)
"""Seconds to connect, and between two bytes of an answer."""


@dataclass(frozen=True)
class Server:
    """A Kubeflow Pipelines server, and who is asking.

    Attributes:
        host: URL; behind Kubeflow's dashboard it ends in ``/pipeline``.
        namespace: of the runs, on a server of several users.
        token: sent as ``Authorization: Bearer …``.
        token_file: holds the token; read again for each request, as it may be rotated.
        cookie: sent as ``Cookie: …``.
        ca: PEM file of the authority that signed the server's certificate.
    """

    host: str
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    cookie: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def link(self, kind: str, identifier: str) -> str:
        """Address of a run's page (``runs``), or a recurring one's (``recurringrun``)."""
        base = (os.environ.get(UI) or self.host).rstrip("/")
        return f"{base}/#/{kind}/details/{identifier}"


def server(
    host: str | None,
    namespace: str | None = None,
    in_cluster: bool = False,
    token_file: Path | None = None,
    cookie_file: Path | None = None,
    ca: Path | None = None,
) -> Server:
    """What options and environment say about the server.

    Args:
        host: URL. Unset: ``KF_PIPELINES_ENDPOINT``, or inside a cluster the usual service.
        namespace: of the runs.
        in_cluster: use the token that Kubernetes projects into this pod.
        token_file: holds a token. Neither: ``LLMCLF_KFP_TOKEN``.
        cookie_file: holds a cookie. Unset: ``LLMCLF_KFP_COOKIE``.
        ca: PEM file.

    Raises:
        UserError: when there is no host, or a file cannot be read.
    """
    url = host or os.environ.get(HOST) or (IN_CLUSTER_HOST if in_cluster else None)
    if not url:
        raise UserError(f"name the server of Kubeflow Pipelines with --host, or set {HOST}")
    if in_cluster and token_file is None:
        token_file = Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
    if token_file is not None:
        _secret(token_file, "token")
    if ca is not None:
        _readable(ca, "certificate file")
    cookie = _secret(cookie_file, "cookie") if cookie_file else _from_environment(COOKIE)
    token = None if token_file else _from_environment(TOKEN)
    return Server(_url(url), namespace, token, token_file, cookie, ca)


def _url(host: str) -> str:
    text = host if "://" in host else f"https://{host}"
    if not text.startswith(("http://", "https://")):
        raise UserError(f"--host {host}: give an http:// or https:// address")
    return text.rstrip("/").removesuffix("/#").rstrip("/")


def _readable(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"cannot read the {what} {path}: {reason}") from None


def _secret(path: Path, what: str) -> str:
    return _one_line(_readable(path, f"{what} file"), f"the {what} file {path}")


def _from_environment(name: str) -> str | None:
    value = os.environ.get(name)
    return _one_line(value, name) if value else None


def _one_line(text: str, where: str) -> str:
    line = text.strip()
    if not (line and line.isascii() and line.isprintable()):
        raise UserError(f"{where} has to hold one line of plain characters")
    return line


def connect(to: Server) -> Client:
    """A client of a server that has answered.

    Raises:
        UserError: when it cannot be reached, refuses, speaks another version of the API, or needs
            a namespace and has none.
    """
    # Its lines about each retry say less than the message at the end.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    _warn_if_overheard(to)
    credentials = to.token_file and ServiceAccountTokenVolumeCredentials(str(to.token_file))
    with explain(to.host, bool(to.token or to.token_file or to.cookie)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client(
            host=to.host,
            existing_token=to.token,
            credentials=credentials,
            cookies=to.cookie,
            ssl_ca_cert=str(to.ca) if to.ca else None,
        )
        several_users = client.get_kfp_healthz().multi_user
    _choose_namespace(client, to, bool(several_users))
    return client


def _warn_if_overheard(to: Server) -> None:
    url = urlsplit(to.host)
    name = url.hostname or ""
    near = name in ("localhost", "127.0.0.1", "::1") or name.endswith((".svc", ".cluster.local"))
    if url.scheme == "http" and not near and (to.token or to.token_file or to.cookie):
        log.warning("credentials go over the network in clear: use https:// for --host")


def _choose_namespace(client: Client, to: Server, several_users: bool) -> None:
    if not several_users:
        if to.namespace:
            log.info("this Kubeflow keeps all runs in one namespace; --namespace is not used")
        client.set_user_namespace("")
        return
    if to.namespace:
        client.set_user_namespace(to.namespace)
    if not client.get_user_namespace():
        raise UserError(
            "this Kubeflow has several users: name your profile's namespace with --namespace"
        )


class Client(kfp.Client):  # type: ignore[misc]
    """KFP's client with limits: it would wait for ever, knock five times and write to the home.

    Attributes:
        release: of the server, such as ``(2, 17)``; None when it does not say.
    """

    release: tuple[int, int] | None = None
    _health: Any = None

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        if self._health is None:
            _limit(self._healthz_api.api_client.rest_client)
            self._health = self._healthz_api.healthz_service_get_healthz()
            self.release = _release(self._healthz_api.api_client.last_response.data)
        return self._health

    def set_user_namespace(self, namespace: str) -> None:
        self._context_setting["namespace"] = namespace


def _release(health: str) -> tuple[int, int] | None:
    """From what KFP's model of the answer drops; the page's server has its own name for it."""
    said = json.loads(health)
    found = _TAG.match(str(said.get("apiServerTagName") or said.get("tag_name")))
    return (int(found[1]), int(found[2])) if found else None


def _limit(rest: Any) -> None:
    """KFP passes no time limit on, has no setting for one, and does not check what it reads."""
    unlimited = rest.request

    def request(*args: Any, **kwargs: Any) -> Any:
        answer = unlimited(*args, **(kwargs | {"_request_timeout": _LIMITS}))
        if "json" not in (answer.getheader("content-type") or ""):
            raise WebPage
        return answer

    rest.request = request
