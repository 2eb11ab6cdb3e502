"""What steps in containers get of the environment, and which places it names for them."""

import os
import re
import runpy
from pathlib import Path

import datasets.config
import pytest
from huggingface_hub import constants

from pipelines.passed_on import caches, files, passed_on

COMPOSE = (Path(__file__).parents[2] / "infra" / "compose.yaml").read_text("utf-8")
OF_SERVERS = {
    "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_WORKSPACE_STORE_URI",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY",
}  # fmt: skip
OF_OTHERS = {"LLMCLF_KFP_TOKEN", "LLMCLF_KFP_COOKIE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "MY_SECRET"}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGINGFACE", "XDG_CACHE", "MLFLOW")):
            monkeypatch.delenv(name)


def test_the_environment_of_steps_is_what_they_read(monkeypatch):
    read = {
        "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_EXPERIMENT_NAME", "HF_TOKEN",
        "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_ALLOW_FILE_STORE", "AWS_SECRET_ACCESS_KEY",
        "LLMCLF_PIPELINE_RUN", "LLMCLF_ERROR_FILE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES", "HTTPS_PROXY", "no_proxy",
    }  # fmt: skip
    kept = OF_SERVERS | OF_OTHERS | set(re.findall(r"\$\{(LLMCLF_\w+)", COMPOSE))
    assert "LLMCLF_POSTGRES_PASSWORD" in kept
    for name in read | kept:
        monkeypatch.setenv(name, f"value of {name}")
    found = passed_on()
    assert found.items() >= {name: f"value of {name}" for name in read}.items()
    assert not {*kept, "PATH", "HOME"} & set(found)


def test_somebody_without_a_name(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert passed_on()["USER"] == "54321"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"HF_HOME": "~/hub"},
        {"HF_HOME": "relative"},
        {"XDG_CACHE_HOME": "/caches"},
        {"HF_HUB_CACHE": "$HOME/models", "HF_DATASETS_CACHE": "data"},
        {"HUGGINGFACE_HUB_CACHE": "/old", "HF_XET_CACHE": "/xet", "HF_MODULES_CACHE": "/modules"},
        {"HF_DATASETS_DOWNLOADED_DATASETS_PATH": "/downloads", "HF_ASSETS_CACHE": "/assets"},
    ],
)
def test_steps_find_the_hubs_caches_where_this_shell_has_them(monkeypatch, given):
    """By the rules of the libraries themselves, here and in a container."""
    monkeypatch.setenv("HOME", "/home/somebody")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    here, mounted = hub_places(), caches()
    for name in given:
        monkeypatch.delenv(name)
    for name, place in mounted.items():
        monkeypatch.setenv(name, str(place))
    monkeypatch.setenv("HOME", "/tmp")
    assert hub_places() == here
    for place in here.values():
        assert any(place.is_relative_to(mount) for mount in mounted.values())


def hub_places():
    """What the libraries say that start in the environment of now."""
    hub, data = (runpy.run_path(module.__file__) for module in (constants, datasets.config))
    names = ("HF_HOME", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE")
    more = ("HF_DATASETS_CACHE", "HF_MODULES_CACHE", "DOWNLOADED_DATASETS_PATH")
    found = {n: hub[n] for n in names} | {n: data[n] for n in more}
    return {name: Path(place).absolute() for name, place in found.items()}


def test_caches_without_settings(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("LLMCLF_CACHE", "cache")
    assert caches() == {
        "LLMCLF_CACHE": Path.cwd() / "cache",
        "HF_HOME": Path("/home/somebody/.cache/huggingface"),
    }


def test_certificates_and_the_hubs_token_are_read_under_their_full_names(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "ca.pem")
    monkeypatch.setenv("HF_TOKEN_PATH", "/secrets/token")
    assert files() == {
        "MLFLOW_TRACKING_SERVER_CERT_PATH": tmp_path / "ca.pem",
        "HF_TOKEN_PATH": Path("/secrets/token"),
    }
    assert not {"MLFLOW_TRACKING_SERVER_CERT_PATH", "HF_TOKEN_PATH"} & set(passed_on())
