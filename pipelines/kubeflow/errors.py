"""What goes wrong between us and Kubeflow Pipelines, each as one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, SSLError

from llmclf_core.errors import UserError
from llmclf_core.registry.redact import redact

_CERTIFICATE = (
    "its certificate is not trusted here; name its authority's PEM file with --ca, and check that "
    "the host is the one in the certificate"
)
_CREDENTIALS = "LLMCLF_KFP_TOKEN, --token-file, --in-cluster, LLMCLF_KFP_COOKIE or --cookie-file"


class Started(UserError):
    """What went wrong when something had been started already, which goes on."""


class WebPage(Exception):
    """Somebody answered, but not in JSON."""


@contextmanager
def explain(host: str, known: bool = True, namespace: str = "") -> Iterator[None]:
    """Turn what the client raises into a :class:`UserError`.

    Args:
        host: named in the message.
        known: whether credentials were sent.
        namespace: that was asked for.

    Raises:
        UserError: for any failure of network, server or protocol.
    """
    try:
        yield
    except ApiException as error:
        reason = _refusal(error, known, namespace)
    except HTTPError as error:
        reason = _no_answer(error)
    except WebPage:
        reason = (
            "a web page answers in place of the API. It is the login page when credentials are "
            f"missing or expired: set {_CREDENTIALS}. Or --host lacks the path (behind Kubeflow's "
            "dashboard it ends in /pipeline)"
        )
    else:
        return
    raise UserError(f"Kubeflow Pipelines at {redact(host)}: {reason}")


def _refusal(error: ApiException, known: bool, namespace: str) -> str:
    said = server_message(error)
    if error.status == 401:
        what = "the credentials are refused or expired" if known else "credentials are needed"
        return f"{what} (401); set {_CREDENTIALS}"
    if error.status == 403:
        there = f"the namespace {namespace}, or there is none of that name" if namespace else "this"
        return f"you may not use {there} (403{said})"
    if error.status == 404:
        return (
            f"not found (404{said}). The API v2beta1 of Kubeflow Pipelines 2 is needed; behind "
            "Kubeflow's dashboard the host ends in /pipeline"
        )
    return f"refused ({error.status} {error.reason}{said})"


def server_message(error: ApiException) -> str:
    """What the server says about it, as ``: …``; empty when it says nothing readable."""
    try:
        text = json.loads(error.body or "{}").get("message", "")
    except (ValueError, AttributeError):
        return ""
    line = redact(" ".join(str(text).split()))[:300]
    return f": {line}" if line else ""


def _no_answer(error: HTTPError) -> str:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, SSLError):
        wrong_port = "wrong version number" in str(cause).lower()
        return "it does not speak https; try http://" if wrong_port else _CERTIFICATE
    if isinstance(cause, LocationParseError):
        return "this is no valid address"
    text = str(cause).lower()
    for known in ("connection refused", "name or service not known", "timed out", "no route"):
        if known in text:
            return f"cannot be reached ({known}); check --host, the network and port forwarding"
    return f"cannot be reached ({type(cause).__name__}); check --host and the network"
