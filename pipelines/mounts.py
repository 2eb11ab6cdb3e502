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
    inputs = {seen: real for path in readable for seen, real in _with_links(path)}
    places = inputs | {path: path for path in writable}
    return [
        Mount(str(seen), str(real), type="bind", read_only=seen not in writable)
        for seen, real in sorted(places.items())
    ]


def _with_links(path: Path) -> Iterator[tuple[Path, Path]]:
    """A place, and where its links lead: a model of the hub's cache is a directory of links.

    Yields:
        Where steps look, and what is to be found there. In a container no part of a path is a link,
        so that there ``..`` leads to where it stands in the name; here it may lead elsewhere.
    """
    if path.exists():
        yield path, path
        for link in path.rglob("*"):
            if link.is_symlink() and link.exists():
                seen = Path(os.path.normpath(link.parent / link.readlink()))
                if not seen.is_relative_to(path):
                    yield seen, link.resolve()


def require_mountable(runs: Path) -> None:
    """KFP names the directory as docker's older way of mounts does: ``from:to:mode``.

    Raises:
        UserError: for a path that this cannot express.
    """
    if ":" in str(runs):
        raise UserError(
            f"docker cannot mount {runs}, for the colon in its name: choose another directory with "
            "--runs, or leave out --runner docker"
        )


def require_readable(readable: Sequence[Path]) -> None:
    """Root reads everything, but its steps are not root.

    Raises:
        UserError: for the first file or directory that they may not read.
    """
    if os.getuid():
        return
    user, group = owner()
    places = [real for path in readable for _, real in _with_links(path)]
    for path in (p for place in places for p in (place, *place.rglob("*")) if p.exists()):
        if not _may_read(path, user, group):
            right = "o+rx" if path.is_dir() else "o+r"
            raise UserError(
                f"steps run as user {user}, who may not read {path}: allow it (chmod {right}), "
                "or start the run as another user than root"
            )


def _may_read(path: Path, user: int, group: int) -> bool:
    found = path.stat()
    wanted = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    shift = 6 if found.st_uid == user else 3 if found.st_gid == group else 0
    return found.st_mode >> shift & wanted == wanted


def owner() -> tuple[int, int]:
    """User and group of the steps: the caller's, behind sudo too, so that files are; never root."""
    if os.getuid():
        return os.getuid(), os.getgid()
    user, group = (int(os.environ.get(name) or 0) for name in ("SUDO_UID", "SUDO_GID"))
    return (user, group or IMAGE_USER) if user else (IMAGE_USER, IMAGE_USER)


def groups() -> list[str]:
    """The caller's other groups, through which files may be reached; never root's."""
    return [str(group) for group in os.getgroups() if os.getuid() and group]


def hand_over(directory: Path) -> None:
    """Make a directory where missing, and let the steps' user write in it when root calls.

    What root, or its steps, have made there before goes to that user.

    Raises:
        UserError: when it cannot be made.
    """
    with explain_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    if os.getuid():
        return
    user, group = owner()
    for place, folders, files in os.walk(directory):
        for path in (os.path.join(place, name) for name in (".", *folders, *files)):
            with suppress(FileNotFoundError):  # another run is at work here
                if os.lstat(path).st_uid in {0, IMAGE_USER} - {user}:
                    os.lchown(path, user, group)
