"""A disk that is soon full."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import missing_service


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB of its own; needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    sudo = ["sudo", "-n"] if os.geteuid() else []
    mount = [*sudo, "mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", str(place)]
    try:
        subprocess.run(mount, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        missing_service(f"a full disk cannot be tested without the right to mount one: {reason}")
    yield place
    subprocess.run([*sudo, "umount", str(place)], check=True)
