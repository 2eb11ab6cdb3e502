"""The docker daemon and the image: whether they can run the steps, and how they have to be told."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any, NamedTuple

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image
from docker.types import DeviceRequest

from llmclf_core import __version__
from llmclf_core.errors import UserError
from llmclf_core.registry.lineage import git_commit

log = logging.getLogger(__name__)

_VERSION = "org.opencontainers.image.version"
_REVISION = "org.opencontainers.image.revision"
_VARIANT = "llmclf.variant"


class StepsImage(NamedTuple):
    """What the steps of a run run in.

    Attributes:
        name: as the daemon knows it.
        id: changes with what is in it.
    """

    name: str
    id: str


def docker_client(image: str) -> docker.DockerClient:
    """A client of a daemon that answers, can run the steps, and has the image; close it.

    Raises:
        UserError: when there is no daemon, one of another kind, or no such image.
    """
    client = _connect()
    try:
        _find(client, [image])
    except UserError:
        client.close()
        raise
    return client


def choose_image(default: str) -> StepsImage:
    """The image for the steps: the default, or its CUDA variant where that is there and of use.

    Args:
        default: ``LLMCLF_IMAGE``, which stands, or this version's image.

    Raises:
        UserError: when there is no daemon, no image, or one of another version.
    """
    with closing(_connect()) as client:
        gpus = _has_gpus(client.info())
        best = [f"{default}-cuda"] if gpus and "LLMCLF_IMAGE" not in os.environ else []
        name, image = _find(client, [*best, default])
    _check(name, image.labels)
    if gpus and _for_cpus(image):
        log.warning(
            "docker offers GPUs, but image %s has PyTorch for CPUs: the steps run without. "
            "`make image VARIANT=cuda` makes the one for GPUs",
            name,
        )
    return StepsImage(name, image.id)


def _connect() -> docker.DockerClient:
    try:
        client = docker.from_env()
    except DockerException as error:
        cause = _cause(error)
        if isinstance(cause, PermissionError):
            todo = "join the group docker (`sudo usermod -aG docker $USER`, then log in again)"
        else:
            todo = "start it, set DOCKER_HOST"
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
        raise UserError(
            f"docker cannot be reached ({reason}): {todo}, or leave out --runner docker"
        ) from None
    try:
        _require_kind(client.info())
    except UserError:
        client.close()
        raise
    return client


def _cause(error: BaseException) -> BaseException:
    """What lies at the bottom of an error that libraries have wrapped again and again."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _require_kind(info: Mapping[str, Any]) -> None:
    kind = "rootless docker" if "rootless" in _security(info) else info.get("OperatingSystem")
    if kind in ("rootless docker", "Docker Desktop"):
        raise UserError(
            f"--runner docker does not work with {kind}, where containers have other user ids and "
            "another network than this machine: set DOCKER_HOST to a daemon of the system, or "
            "leave out --runner docker"
        )


def _security(info: Mapping[str, Any]) -> set[str]:
    """``rootless``, ``userns``, ``selinux`` and the like."""
    options = info.get("SecurityOptions") or []
    return {option.partition(",")[0].removeprefix("name=") for option in options}


def _find(client: docker.DockerClient, names: list[str]) -> tuple[str, Image]:
    for name in names:
        with suppress(ImageNotFound):
            return name, client.images.get(name)
    raise UserError(
        f"there is no image {names[-1]}: make it with `make image`, fetch it by `docker pull`, or "
        "name another one in LLMCLF_IMAGE"
    )


def _check(name: str, labels: Mapping[str, str]) -> None:
    """Steps run the image's code, whatever lies here."""
    version = labels.get(_VERSION, __version__)
    if version != __version__:
        raise UserError(
            f"image {name} holds llmclf {version}, and this is {__version__}: make it anew with "
            "`make image`, or name another one in LLMCLF_IMAGE"
        )
    built, here = labels.get(_REVISION), git_commit()
    if built and here and built != here:
        log.warning(
            "image %s was made of commit %s, and here is %s: steps run the image's code. "
            "`make image` makes it anew",
            name, built, here,
        )  # fmt: skip


def _has_gpus(info: Mapping[str, Any]) -> bool:
    return "nvidia" in (info.get("Runtimes") or {})


def _for_cpus(image: Image) -> bool:
    return bool(image.labels.get(_VARIANT) == "cpu")


def isolation(info: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a container that keep it from gaining rights, and let it reach its mounts.

    Args:
        info: what the daemon says of itself.
    """
    security = _security(info)
    own = {"userns_mode": "host"} if "userns" in security else {}  # the caller's ids are meant
    # Mounts are the user's files under their own names; giving them labels would change those.
    labels = ["label=disable"] if "selinux" in security else []
    return own | {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges", *labels]}


def device_requests(client: docker.DockerClient, image: str) -> list[DeviceRequest]:
    """All GPUs, where docker has the NVIDIA runtime and the image can use them."""
    if not _has_gpus(client.info()) or _for_cpus(client.images.get(image)):
        return []
    return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
