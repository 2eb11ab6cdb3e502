"""What is in the image, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components import IMAGE
from llmclf_core import __version__

ROOT = Path(__file__).parents[2]

PROBE = """
import importlib.util, json, os, shutil, sys
from pathlib import Path

def refused(path):
    try:
        Path(path, "probe").write_text("x")
    except OSError as error:
        return error.strerror
    return "written"

def found(*patterns):
    return [str(p) for pattern in patterns for p in Path("/").glob(pattern)]

print(json.dumps({
    "ids": [os.getuid(), os.getgid(), *os.getgroups()],
    "home": str(Path.home()),
    "environment": dict(os.environ),
    "write": {place: refused(place) for place in ("/", "/etc", "/opt/llmclf", "/tmp")},
    "tools": [t for t in ("gcc", "cc", "g++", "make", "ld", "nvcc", "git") if shutil.which(t)],
    "commands": [t for t in ("llmclf", "mlflow", "python3") if shutil.which(t)],
    "python": sys.prefix,
    "places": {n: importlib.util.find_spec(n).origin for n in
               ("llmclf_core", "components", "pipelines", "kfp", "mlflow", "psycopg2", "boto3")},
    "leftovers": found("build*", "package*", "*/.cache/pip", "root/.cache", "opt/**/*.whl",
                       "tmp/*.whl", "var/lib/apt/lists/*Packages*", "var/cache/apt/*.bin"),
    "recipes": found("opt/llmclf/lib/python3*/site-packages/pipelines/recipes/demo.yaml"),
}))
"""


@pytest.fixture(scope="module")
def seen(in_image):
    status, printed = in_image("python3", "-c", PROBE)
    assert status == 0, printed
    return json.loads(printed.splitlines()[-1])


def test_the_process_is_not_root(seen, client):
    assert seen["ids"][:2] == [10001, 10001]
    assert 0 not in seen["ids"]
    # By number: Kubernetes refuses an image with a name when root is forbidden.
    assert client.images.get(IMAGE).attrs["Config"]["User"] == "10001:10001"


def test_only_tmp_is_written_to(seen):
    read_only = dict.fromkeys(("/", "/etc", "/opt/llmclf"), "Read-only file system")
    assert seen["write"] == read_only | {"/tmp": "written"}
    assert seen["home"] == "/tmp"
    assert seen["environment"]["LLMCLF_CACHE"] == "/cache"
    assert seen["environment"]["HF_HOME"].startswith("/cache/")


def test_the_image_is_owned_by_root_but_for_its_cache(in_image):
    """Even on a writable root filesystem, a step cannot change the code that it runs."""
    command = "find / -xdev -writable ! -type l ! -path '/proc/*' ! -path '/tmp*' 2>/dev/null"
    status, printed = in_image("sh", "-c", command + "; true", read_only=False)
    owned = [p for p in printed.split() if not p.startswith(("/dev", "/var/tmp", "/run/lock"))]
    assert (status, owned) == (0, ["/cache"])


def test_no_compiler_and_nothing_left_of_the_build(seen):
    assert seen["tools"] == []
    assert seen["leftovers"] == []


def test_the_package_is_installed_and_whole(seen):
    assert seen["commands"] == ["llmclf", "mlflow", "python3"]
    assert seen["python"] == "/opt/llmclf"
    assert {Path(p).is_relative_to("/opt/llmclf/lib") for p in seen["places"].values()} == {True}
    assert len(seen["recipes"]) == 1


def test_labels(client):
    labels = client.images.get(IMAGE).labels
    assert labels["org.opencontainers.image.version"] == __version__
    revision = labels["org.opencontainers.image.revision"]
    assert revision.removesuffix("-dirty").isalnum()
    environment = client.images.get(IMAGE).attrs["Config"]["Env"]
    assert f"LLMCLF_GIT_COMMIT={revision}" in environment


def test_packages_fit_together_and_are_those_of_the_constraints(in_image):
    pip = "pip --python /opt/llmclf/bin/python3"
    status, printed = in_image("sh", "-c", f"{pip} check && {pip} freeze")
    assert status == 0, printed
    assert "No broken requirements found" in printed
    pins = {p.lower().split("==")[0]: p for p in pinned((ROOT / "constraints.txt").read_text())}
    strays = [
        line for line in pinned(printed)
        if pins.get(line.lower().split("==")[0], "").lower() != line.lower().split("+")[0]
    ]  # fmt: skip
    assert strays == []


def pinned(text):
    return [line.replace("_", "-") for line in text.splitlines() if "==" in line and line[0] != "#"]


def test_the_command_line_works_for_a_user_without_a_name(in_image):
    status, printed = in_image("llmclf", "--version", user="54321:54321")
    assert (status, printed.strip()) == (0, f"llmclf {__version__}")
