"""The overlays as kubectl renders them, with freshly made secrets; ways through their objects."""

from __future__ import annotations

import copy
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import missing_service

SOURCE = Path(__file__).parents[2] / "infra" / "kubernetes"
OVERLAYS = ("small", "gpu", "external", "profile")
EXTERNAL = {
    "DATABASE_PASSWORD": "given-database-password",
    "S3_ACCESS_KEY_ID": "given-access-key",
    "S3_SECRET_ACCESS_KEY": "given-secret-key",
}

Object = dict[str, Any]


def kubectl() -> str:
    """Path of kubectl; without it the test is skipped, or fails in CI."""
    found = shutil.which("kubectl")
    if found is None:
        missing_service("no kubectl: install it (1.27 or later)")
    return found


def copy_manifests(target: Path) -> Path:
    """The tracked manifests in ``target``, without the developer's own secrets."""
    ignored = shutil.ignore_patterns("made-by-make-secrets.sh")
    return Path(shutil.copytree(SOURCE, target / "kubernetes", ignore=ignored))


def make_secrets(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run ``make-secrets.sh`` of this copy, without a terminal."""
    return subprocess.run(
        [root / "secrets" / "make-secrets.sh", *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def kustomize(folder: Path) -> subprocess.CompletedProcess:
    """``kubectl kustomize`` of a folder."""
    return subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True)


@functools.cache
def rendering(overlay: str) -> str:
    """An overlay's YAML; each has secrets of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy_manifests(Path(folder))
        made = make_secrets(root, *(["external"] if overlay == "external" else []), **EXTERNAL)
        assert made.returncode == 0, made.stderr
        done = kustomize(root / "overlays" / overlay)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # warnings of deprecated fields, for one
    return done.stdout


def objects(overlay: str) -> list[Object]:
    """An overlay's objects; yours to change."""
    return copy.deepcopy(_parsed(overlay))


@functools.cache
def _parsed(overlay: str) -> list[Object]:
    return list(yaml.load_all(rendering(overlay), yaml.CSafeLoader))


def of_kind(found: list[Object], *kinds: str) -> list[Object]:
    return [one for one in found if one["kind"] in kinds]


def named(found: list[Object], kind: str, name: str) -> Object:
    (one,) = (one for one in of_kind(found, kind) if one["metadata"]["name"] == name)
    return one


def stores_of(found: list[Object]) -> dict[str, str]:
    """The settings of database and bucket that the server gets."""
    (entry,) = pod(named(found, "Deployment", "llmclf-mlflow"))["containers"][0]["envFrom"]
    return named(found, "ConfigMap", entry["configMapRef"]["name"])["data"]


def workloads(found: list[Object]) -> list[Object]:
    """Everything that makes pods."""
    return of_kind(found, "Deployment", "StatefulSet", "Job")


def pod(workload: Object) -> Object:
    """The pod's spec."""
    return workload["spec"]["template"]["spec"]


def labels(workload: Object) -> dict[str, str]:
    """The pod's labels."""
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def matches(selector: Object, labelled: dict[str, str]) -> bool:
    """Whether a label selector chooses these labels; an empty one chooses all."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "Exists", rule
        if rule["key"] not in labelled:
            return False
    return selector.get("matchLabels", {}).items() <= labelled.items()


def references(spec: Object) -> Iterator[tuple[str, str, str | None]]:
    """What a pod cannot start without: kind, name, and key where one is named."""
    for container in containers(spec):
        for entry in container.get("env", []):
            yield from _references(entry.get("valueFrom", {}))
        for entry in container.get("envFrom", []):
            yield from _references(entry)
    for volume in spec.get("volumes", []):
        yield from _volume_references(volume)


def _references(entry: Object) -> Iterator[tuple[str, str, str | None]]:
    for field, reference in entry.items():
        kind = "Secret" if field.startswith("secret") else "ConfigMap"
        if not reference.get("optional"):
            yield kind, reference["name"], reference.get("key")


def _volume_references(volume: Object) -> Iterator[tuple[str, str, str | None]]:
    if secret := volume.get("secret"):
        for item in secret.get("items", [{"key": None}]):
            yield "Secret", secret["secretName"], item["key"]
    if config := volume.get("configMap"):
        yield "ConfigMap", config["name"], None
    if claim := volume.get("persistentVolumeClaim"):
        yield "PersistentVolumeClaim", claim["claimName"], None
