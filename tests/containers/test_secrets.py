"""No secret of whoever builds gets into an image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import docker
import pytest

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "build" / "wheelhouse-cpu"
SOURCES = ("llmclf_core", "components", "pipelines", "infra/docker")
FILES = (".dockerignore", "constraints.txt", "pyproject.toml", "README.md", "LICENSE")
SECRET_FILES = (
    ".env", ".netrc", ".pypirc", "infra/.env", "infra/docker/token", "runs/x/log.txt",
    "tests/secret.py", "build/pip.conf", ".git/config",
)  # fmt: skip
SECRET_VARIABLES = ("HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "SOME_SECRET")


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def copy_with_secrets(target: Path, marker: str) -> Path:
    """A copy of what an image is built from, in which secrets lie about."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy2(ROOT / name, target / name)
    if WHEELS.exists():
        shutil.copytree(WHEELS, target / WHEELS.relative_to(ROOT), copy_function=link_or_copy)
    for name in SECRET_FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(f"secret = {marker}\n")
    return target


def which_occur(needles: Iterable[bytes], pieces: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    tail, longest = b"", max(map(len, needles))
    for piece in pieces:
        window = tail + piece
        found |= {needle for needle in needles if needle in window}
        tail = window[-longest:]
    return found


@pytest.fixture
def built(client, tmp_path):
    """The image, built again with secrets around: its tag and the marker that they hold."""
    marker = f"marker{uuid.uuid4().hex}"
    context = copy_with_secrets(tmp_path / "context", marker)
    tag = f"llmclf-test:{uuid.uuid4().hex}"
    done = subprocess.run(
        [context / "infra" / "docker" / "build.sh", "--tag", tag],
        env=os.environ | {"PYTHON": sys.executable} | dict.fromkeys(SECRET_VARIABLES, marker),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert marker not in done.stdout + done.stderr
    yield tag, marker
    client.images.remove(tag, force=True)


def test_secrets_around_a_build_stay_out(client, built):
    tag, marker = built
    image = client.images.get(tag)
    assert marker not in json.dumps([client.api.history(tag), image.attrs])
    # Layers are saved as they are, not packed: the second needle tells that the search would find.
    needles = [marker.encode(), b"class Recipe(Section)"]
    with closing(docker.from_env(timeout=300)) as patient:  # the daemon packs before it answers
        assert which_occur(needles, patient.api.get_image(tag)) == {needles[1]}
