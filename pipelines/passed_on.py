"""What steps in containers get of this machine's environment, and the places that it names."""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path

from llmclf_core.paths import cache_dir

_PASSED_ON = re.compile(
    "MLFLOW_(TRACKING|REGISTRY|EXPERIMENT|HTTP|ARTIFACT|MULTIPART|S3|BOTO|SQLALCHEMYSTORE|ENABLE"
    "|DISABLE|ALLOW|SUPPRESS|ASYNC|SYSTEM|LOGGING)_.*|MLFLOW_WORKSPACE"
    "|LLMCLF_(PIPELINE_RUN|ERROR_FILE)|HF_(TOKEN|ENDPOINT|(HUB|DATASETS|XET)_.*)|(OMP|CUDA|TOKENIZERS)_.*"
    "|(HTTPS?|NO)_PROXY|(https?|no)_proxy"
    "|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|DEFAULT_REGION|REGION|ENDPOINT_URL.*)"
)
"""What steps read. Everybody who may ask the daemon sees a container's environment, so the rest,
such as the password of an MLflow server's database, stays here."""

_HUB_CACHES = (
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE",
    "HF_DATASETS_CACHE", "HF_DATASETS_DOWNLOADED_DATASETS_PATH",
    "HF_DATASETS_EXTRACTED_DATASETS_PATH", "HF_MODULES_CACHE", "HF_XET_CACHE",
)  # fmt: skip
"""Directories below ``HF_HOME``, unless these say otherwise."""

_FILES = (
    "HF_TOKEN_PATH", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)  # fmt: skip


def passed_on() -> dict[str, str]:
    """The variables of this process that steps read, but for those that name places."""
    own = {"USER": _user()}  # MLflow's runs say whose they are
    places = (*_HUB_CACHES, *_FILES)
    return own | {
        name: value
        for name, value in os.environ.items()
        if _PASSED_ON.fullmatch(name) and name not in places
    }


def caches() -> dict[str, Path]:
    """Directories that steps write to, by the variables that name them.

    The hub's follow its own rules, read now: its library has read the environment when it was
    imported.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub = os.environ.get("HF_HOME") or f"{home}/huggingface"
    named = {name: os.environ[name] for name in _HUB_CACHES if os.environ.get(name)}
    places = {name: _place(value) for name, value in {"HF_HOME": hub, **named}.items()}
    return {"LLMCLF_CACHE": cache_dir().absolute(), **places}


def files() -> dict[str, Path]:
    """Files that steps read, certificates above all, by the variables that name them."""
    return {name: _place(os.environ[name]) for name in _FILES if os.environ.get(name)}


def _place(value: str) -> Path:
    return Path(os.path.expandvars(value)).expanduser().absolute()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())
