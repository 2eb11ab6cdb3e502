"""Run the steps in containers of the image, by KFP's DockerRunner."""

from __future__ import annotations

import codecs
import getpass
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import docker
import psutil
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest
from kfp import local
from kfp.local import docker_task_handler

from llmclf_core.errors import UserError
from pipelines.mounts import hand_over, mounts, owner, require_readable

RUN_LABEL = "llmclf.run"
"""On a container: the directory of the run that started it."""

_PROCESS_LABEL = "llmclf.process"
"""The process that waits for the container; where it was killed, nobody removes the container."""

_stopped = threading.Event()

_PASSED_ON = re.compile(
    "(MLFLOW|LLMCLF|HF|OMP|CUDA|TOKENIZERS)_.*|(HTTPS?|NO)_PROXY|(https?|no)_proxy"
    "|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|DEFAULT_REGION|REGION|ENDPOINT_URL.*)"
)
"""Of the environment; the rest names places of this machine that containers do not have."""


def docker_client(image: str) -> docker.DockerClient:
    """A client of a daemon that answers and has the image; close it.

    Raises:
        UserError: when there is no daemon or no such image.
    """
    try:
        client = docker.from_env()
    except DockerException as error:
        raise UserError(
            f"docker cannot be reached ({_cause(error)}): start it, set DOCKER_HOST, or leave out "
            "--runner docker"
        ) from None
    try:
        client.images.get(image)
    except ImageNotFound:
        client.close()
        raise UserError(
            f"there is no image {image}: make it with `make image`, fetch it by `docker pull`, or "
            "name another one in LLMCLF_IMAGE"
        ) from None
    return client


def _cause(error: BaseException) -> str:
    """What lies at the bottom of an error that libraries have wrapped again and again."""
    while error.__context__ is not None:
        error = error.__context__
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def docker_runner(
    image: str,
    directory: Path,
    writable: Sequence[Path],
    readable: Sequence[Path],
    environment: Mapping[str, str],
) -> local.DockerRunner:
    """A runner whose containers see the given places under their own names, and nothing else.

    They run without root and without capabilities, on a read-only root filesystem with a /tmp of
    their own; in the host's network, so that an MLflow server on the loopback address is reached.

    Args:
        image: that the steps run in.
        directory: of the run; labels its containers.
        writable: directories that steps write to; made where missing.
        readable: files and directories that steps read.
        environment: of the steps, beside what is passed on of this one.

    Raises:
        UserError: when there is no daemon, no such image, or something that steps may not read.
    """
    docker_task_handler.run_docker_container = run_container
    logging.getLogger("kfp.local.pip_install_manager").setLevel(logging.WARNING)
    with closing(docker_client(image)) as client:
        _remove_leftovers(client)
        gpu = "nvidia" in client.info().get("Runtimes", {})
    for place in writable:
        hand_over(place)
    require_readable(readable)
    return local.DockerRunner(
        user=":".join(map(str, owner())),
        environment={**_passed_on(), **environment},
        working_dir=str(Path.cwd()),
        mounts=mounts(writable, readable),
        labels={RUN_LABEL: str(directory), _PROCESS_LABEL: str(os.getpid())},
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": "mode=1777,exec"},  # noqa: S108  # kernels may be compiled there
        shm_size="2g",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpu else [],
    )


def _passed_on() -> dict[str, str]:
    own = {"USER": getpass.getuser()}  # MLflow's runs say whose they are
    return own | {k: v for k, v in os.environ.items() if _PASSED_ON.fullmatch(k)}


def run_container(
    client: docker.DockerClient,
    image: str,
    command: list[str],
    volumes: Mapping[str, Any],
    **options: Any,
) -> int:
    """Run one step and wait for its exit status. Stands in for KFP's function of this purpose.

    KFP 2.17 has the daemon remove a container as soon as it ends, asks for its status afterwards,
    and takes "no such container" for success: now and then, a step that failed has done well
    (https://github.com/kubeflow/pipelines/issues/13332). Here the container stays until its status
    is known.

    Returns:
        The exit status of the process; 137 when somebody has removed the container or stopped all.
    """
    if _stopped.is_set():
        return 137
    for place in volumes:
        hand_over(Path(place))
    container = client.containers.run(image, command, detach=True, volumes=volumes, **options)
    try:
        for line in _lines(container):
            print(line)
        return int(container.wait(timeout=None)["StatusCode"])
    except NotFound:
        return 137
    finally:
        _remove(container)


def _lines(container: Container) -> Iterator[str]:
    """What a container prints; the daemon's pieces end within lines and within characters."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for piece in container.logs(stream=True, follow=True):
        *lines, rest = (rest + decoder.decode(piece)).split("\n")
        yield from lines
    if rest:
        yield rest


def _remove(container: Container) -> None:
    with suppress(NotFound, APIError):  # gone, or being removed
        container.remove(force=True)


@contextmanager
def ended_with(directory: Path) -> Iterator[None]:
    """End a run's containers with the run, and on Ctrl-C, of which they hear nothing themselves."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _stopped.set()  # KFP's other threads would go on with their next step
        remove_containers(directory)
        raise KeyboardInterrupt

    _stopped.clear()
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupt) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        remove_containers(directory)


def remove_containers(directory: Path) -> None:
    """Remove the containers of a run, whatever they are doing."""
    label = f"{RUN_LABEL}={directory}"
    with closing(docker.from_env()) as client:
        for container in client.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        ):
            _remove(container)


def _remove_leftovers(client: docker.DockerClient) -> None:
    """Remove what has ended and nobody waits for; what still works is left to end."""
    ended = {"label": _PROCESS_LABEL, "status": "exited"}
    for container in client.containers.list(all=True, filters=ended, ignore_removed=True):
        if not psutil.pid_exists(int(container.labels[_PROCESS_LABEL])):
            _remove(container)
