"""What steps in containers see of this machine, and as whom."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from docker.types import Mount

from llmclf_core.errors import UserError, explain_os_errors

IMAGE_USER = 10001
"""User and group of the image, for when root starts a pipeline: steps are never root."""


def mounts(writable: Sequence[Path], readable: Sequence[Path]) -> list[Mount]:
    """Bind mounts under the places' own names.

    Args:
        writable: directories that steps write to.
        readable: what they only read; what is missing is left out.
    """
    inputs = {file for path in readable for file in _with_links(path)} - set(writable)
    return [
        Mount(str(path), str(path), type="bind", read_only=path in inputs)
        for path in sorted(inputs | set(writable))
    ]


def _with_links(path: Path) -> Iterator[Path]:
    """A place, and where its links lead: a model of the hub's cache is a directory of links."""
    if path.exists():
        yield path
        links = (link for link in path.rglob("*") if link.is_symlink() and link.exists())
        yield from (link.resolve() for link in links)


def require_readable(readable: Sequence[Path]) -> None:
    """Root reads everything, but its steps are not root.

    Raises:
        UserError: for the first file that they may not read.
    """
    if os.getuid():
        return
    for file in (f for place in readable for f in (place, *place.rglob("*")) if f.is_file()):
        if not file.stat().st_mode & stat.S_IROTH and file.stat().st_uid != IMAGE_USER:
            raise UserError(
                f"steps run as user {IMAGE_USER}, who may not read {file}: allow it (chmod o+r), "
                "or start the run as another user than root"
            )


def owner() -> tuple[int, int]:
    """Who the steps run as: the caller, so that files are the caller's; never root."""
    return (os.getuid(), os.getgid()) if os.getuid() else (IMAGE_USER, IMAGE_USER)


def hand_over(directory: Path) -> None:
    """Make a directory where missing, and let the steps' user write in it when root calls.

    Raises:
        UserError: when it cannot be made.
    """
    with explain_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    if os.getuid():
        return
    for place, folders, files in os.walk(directory):
        for path in (os.path.join(place, name) for name in (".", *folders, *files)):
            with suppress(FileNotFoundError):  # another run is at work here
                if os.lstat(path).st_uid == 0:
                    os.lchown(path, IMAGE_USER, IMAGE_USER)
