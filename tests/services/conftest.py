"""The shared tracking services, and an ordinary user of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mlflow import MlflowClient

from tests.services.stack import COMPOSE_FILE, Stack

WORKER = "worker"


def as_user(stack, name, password):
    """The environment of a client of this server."""
    return {
        "MLFLOW_TRACKING_URI": stack.uri,
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def as_admin(stack):
    return as_user(
        stack, stack.secrets["LLMCLF_MLFLOW_USERNAME"], stack.secrets["LLMCLF_MLFLOW_PASSWORD"]
    )


def set_environment(patch, values):
    for name, value in values.items():
        patch.setenv(name, value)


def add_user(stack, name):
    """A new user without any right of its own, made by the shipped script; its environment."""
    done = subprocess.run(
        [sys.executable, str(COMPOSE_FILE.parent / "compose" / "add_user.py"), name, stack.uri],
        env=stack.environment("mlflow"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {"MLFLOW_TRACKING_URI": stack.uri} | dict(
        line.split("=", 1) for line in done.stdout.splitlines()
    )


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """PostgreSQL, S3 and MLflow, up when the session's first test asks for them."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="session")
def worker(stack):
    """The environment of the user that runs pipelines: no administrator, no key of S3."""
    return add_user(stack, WORKER)


@pytest.fixture
def client(stack, worker, monkeypatch):
    """A client that sees what the worker sees."""
    set_environment(monkeypatch, worker)
    return MlflowClient(stack.uri)
