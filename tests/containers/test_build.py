"""What the build takes and refuses; stand-ins for docker and pip, so that nothing is fetched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from llmclf_core import __version__

ROOT = Path(__file__).parents[2]
FILES = (
    "infra/docker/build.sh", "infra/docker/requirements.py", "llmclf_core/__init__.py",
    "constraints.txt", "pyproject.toml",
)  # fmt: skip

PYTHON = f"""#!/bin/sh
case "$*" in
*version_info*) echo "$PY" ;;
*" index versions "*) [ -z "$OFFERED" ] || echo "Available versions: 99.1, $OFFERED, 2.13, 1.0" ;;
*" wheel "*) echo "$@" >>wheel.log; touch "build/wheelhouse-$VARIANT.draft/torch-$TAKEN-cp.whl" ;;
*) exec {sys.executable} "$@" ;;
esac
"""
DOCKER = '#!/bin/sh\necho "$@" >>docker.log\n'


class Build(NamedTuple):
    root: Path

    def run(self, variant, offered, taken=None, py="3.11"):
        own = {"PATH": f"{self.root}:{os.environ['PATH']}", "PYTHON": str(self.root / "python")}
        own |= {"VARIANT": variant, "OFFERED": offered, "TAKEN": taken or offered, "PY": py}
        command = [self.root / "infra" / "docker" / "build.sh", "--variant", variant]
        environment = {k: v for k, v in os.environ.items() if k != "BASE"} | own
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def said_to(self, program):
        log = self.root / f"{program}.log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def built(self):
        return [line for line in self.said_to("docker") if line.startswith("build ")]


@pytest.fixture
def build(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name, text in {"python": PYTHON, "docker": DOCKER}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return Build(tmp_path)


@pytest.mark.parametrize(
    ("variant", "offered", "taken", "message"),
    [
        ("cpu", "2.13.0", None, "pip finds no CPU build of torch"),
        ("cuda", "2.13.0+cpu, 2.13.0", None, "pip finds a CPU build of torch (2.13.0+cpu)"),
        ("cpu", "", "2.13.0", "pip finds no CPU build of torch"),  # a pip that lists nothing
        ("cuda", "", "2.13.0+cpu", "pip finds a CPU build of torch (torch-2.13.0+cpu-cp.whl)"),
    ],
)
def test_the_wrong_build_of_torch_is_refused(build, variant, offered, taken, message):
    done = build.run(variant, offered, taken)
    assert (done.returncode, done.stdout.count("building")) == (2, 0)
    assert f"error: {message}" in done.stderr
    assert build.built == []
    assert len(build.said_to("wheel")) == (taken is not None)  # before gigabytes are fetched


@pytest.mark.parametrize(
    ("variant", "offered", "tag"),
    [
        ("cpu", "2.13.0+cpu", f":{__version__}"),
        ("cuda", "2.13.0", f":{__version__}-cuda"),
        ("cuda", "2.13.0+cu130", f":{__version__}-cuda"),
    ],
)
def test_the_base_has_the_python_of_the_wheels(build, variant, offered, tag):
    done = build.run(variant, offered, py="3.12")
    assert done.returncode == 0, done.stderr
    (line,) = build.built
    assert f"--tag llmclf{tag} --build-arg BASE=python:3.12-slim" in line
    assert f"--build-arg VARIANT={variant} --build-arg WHEELS=build/wheelhouse-{variant} " in line


def test_wheels_are_collected_again_for_another_python_only(build):
    for py, times in [("3.11", 1), ("3.11", 1), ("3.13", 2)]:
        assert build.run("cpu", "2.13.0+cpu", py=py).returncode == 0
        assert len(build.said_to("wheel")) == times
