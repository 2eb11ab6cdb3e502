"""A container engine with the image; without them skipped on a laptop, failed in CI."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import docker
import pytest

from components import IMAGE
from llmclf_core.errors import UserError
from pipelines.daemon import docker_client
from tests.conftest import missing_service
from tests.pipelines.conftest import Task, write_task


def tiny_task(root: Path) -> Task:
    """A task whose base model all may read: where root tests, steps are somebody else."""
    task = write_task(root)
    for file in (root / "base").iterdir():
        file.chmod(0o644)
    return task


@pytest.fixture(scope="session")
def client() -> docker.DockerClient:
    try:
        found = docker_client(IMAGE)
    except UserError as error:
        missing_service(str(error))
    with closing(found):
        yield found


@pytest.fixture(scope="session")
def in_image(client):
    """Runs a command as a step runs it: read-only root, nothing to write to but /tmp."""

    def run(*command: str, user: str | None = None, read_only: bool = True) -> tuple[int, str]:
        container = client.containers.run(
            IMAGE, list(command), detach=True, read_only=read_only, network_mode="host",
            tmpfs={"/tmp": ""}, user=user,
        )  # fmt: skip
        try:
            status = container.wait(timeout=300)["StatusCode"]
            return status, container.logs().decode()
        finally:
            container.remove(force=True)

    return run
