"""Run the steps in containers of the image, by KFP's DockerRunner."""

from __future__ import annotations

import codecs
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import DockerException, NotFound
from docker.models.containers import Container
from docker.types import Mount
from kfp import local
from kfp.local import docker_task_handler

from pipelines.daemon import device_requests, docker_client, isolation
from pipelines.mounts import groups, hand_over, mounts, owner, require_readable
from pipelines.passed_on import passed_on
from pipelines.stopping import KILLED, ended_by_signals, stopped

RUN_LABEL = "llmclf.run"
"""On a container: the directory of the run that started it."""

_PROCESS_LABEL = "llmclf.process"
"""The process that waits for the container; where it was killed, nobody removes the container."""

_SCRATCH = "tmp"
"""In the run's directory: for large temporary files, which /tmp would keep in memory."""

_SCRATCH_INSIDE = "/tmp/.llmclf"  # noqa: S108
"""Where steps see it: short, for sockets are made there, whose names may have 107 characters."""


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
    docker_task_handler.run_docker_container = lambda **given: run_container(
        **{**given, "image": image}
    )
    logging.getLogger("kfp.local.pip_install_manager").setLevel(logging.WARNING)
    with closing(docker_client(image)) as client:
        _remove_leftovers(client)
        security, devices = isolation(client.info()), device_requests(client, image)
    scratch = directory / _SCRATCH
    for place in (*writable, scratch):
        hand_over(place)
    require_readable(readable)
    return local.DockerRunner(
        user=":".join(map(str, owner())),
        group_add=groups(),
        environment={**passed_on(), **environment, "TMPDIR": _SCRATCH_INSIDE},
        working_dir=str(Path.cwd()),
        mounts=[
            *mounts(writable, readable),
            Mount(_SCRATCH_INSIDE, str(scratch), type="bind"),
        ],
        labels={RUN_LABEL: str(directory), _PROCESS_LABEL: str(os.getpid())},
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": "mode=1777,exec"},  # noqa: S108  # kernels may be compiled there
        shm_size="2g",
        device_requests=devices,
        **security,
    )


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
    if stopped.is_set():
        return KILLED
    for place in volumes:
        hand_over(Path(place))
    container = client.containers.run(image, command, detach=True, volumes=volumes, **options)
    try:
        if stopped.is_set():  # meanwhile: whoever looked for containers to remove saw none
            return KILLED
        for line in _lines(container):
            print(line)
        return int(container.wait(timeout=None)["StatusCode"])
    except NotFound:
        return KILLED
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
    with suppress(DockerException, OSError):  # gone, being removed; of requests: no daemon
        container.remove(force=True)


@contextmanager
def ended_with(directory: Path) -> Iterator[None]:
    """End a run's containers with the run, and on signals, of which they hear nothing themselves.

    Its temporary files go too.
    """
    try:
        with ended_by_signals(lambda number: remove_containers(directory)):
            yield
    finally:
        remove_containers(directory)
        shutil.rmtree(directory / _SCRATCH, ignore_errors=True)


def remove_containers(directory: Path) -> None:
    """Remove the containers of a run, whatever they are doing; without a daemon there are none."""
    label = f"{RUN_LABEL}={directory}"
    with suppress(DockerException, OSError), closing(docker.from_env()) as client:
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
