"""What operators are told to type and to write: it leads somewhere, and in the right order."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.infra.manifests import (
    OVERLAYS,
    SOURCE,
    copy_manifests,
    kustomize,
    make_secrets,
    named,
    objects,
    pod,
)

README = (SOURCE / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]


def test_the_readme_names_what_is_there():
    for name in (*OVERLAYS, "make-secrets.sh", "llmclf-hub", "llmclf-cache"):
        assert name in README
    for path in re.findall(r"infra/[\w./-]+\w", README):
        target = SOURCE.parents[1] / path
        assert target.exists() or "made-by-make-secrets.sh" in path, path


def test_commands_are_for_the_root_of_the_repository():
    assert len(COMMANDS) > 8
    for text in COMMANDS:
        assert not re.search(r"(^|[;&|]\s*)cd ", text, re.MULTILINE), text
        for folder in re.findall(r"apply .*-k (\S+)", text):
            assert (SOURCE.parents[1] / folder / "kustomization.yaml").exists(), folder


def test_objects_named_in_commands_are_there():
    found = {(one["kind"].lower(), one["metadata"]["name"]) for one in objects("gpu")}
    for kind, name in re.findall(r"\b(statefulset|deployment|job)/([\w-]+)", README):
        assert (kind, name) in found


def test_namespaces_are_named():
    for command in re.findall(r"kubectl (?:exec|scale|rollout|wait|cp|logs) [^`&|\n]*", README):
        assert "-n kubeflow" in command, command


def test_commands_wait_for_what_the_next_one_needs():
    for text in COMMANDS:
        if "kubectl cp" in text:
            assert "--for=condition=Ready" in text.partition("kubectl cp")[0]
        for after in text.split("--replicas=0")[1:]:
            assert "kubectl wait" in after.splitlines()[1], text
            assert "--for=delete" in after.splitlines()[1], text


def test_deadlines_leave_time_to_pull_an_image():
    minutes = dict(re.findall(r"(?:deployment|job)/([\w-]+) .*--timeout=(\d+)m", README))
    job = named(objects("gpu"), "Job", "llmclf-cache")
    server = named(objects("gpu"), "Deployment", "llmclf-mlflow")
    assert job["spec"]["activeDeadlineSeconds"] == int(minutes["llmclf-cache"]) * 60 >= 1800
    assert server["spec"]["progressDeadlineSeconds"] == int(minutes["llmclf-mlflow"]) * 60 >= 1800


@pytest.fixture
def root(tmp_path):
    """A copy of the manifests, with secrets."""
    copied = copy_manifests(tmp_path)
    assert make_secrets(copied).returncode == 0
    return copied


def rendered(folder):
    done = kustomize(folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_the_patch_for_an_ingress(root):
    (patch,) = (text for kind, text in BLOCKS if kind == "yaml")
    overlay = root / "overlays" / "small" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("patches:\n", f"patches:\n{patch}", 1))
    before = environment(objects("small"))
    after = environment(rendered(overlay.parent))
    hosts, origins = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
    assert after.pop(hosts) == before.pop(hosts) + ",mlflow.example.org"
    assert (before.pop(origins), after.pop(origins)) == (
        *("http://localhost:5000", "https://mlflow.example.org"),
    )
    assert after == before


def environment(found):
    container = pod(named(found, "Deployment", "llmclf-mlflow"))["containers"][0]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_the_patch_for_the_cache_of_a_profile(root):
    overlay = root / "overlays" / "profile" / "kustomization.yaml"
    text = re.sub(r"^  # (- target|  )", r"  \1", overlay.read_text(), flags=re.MULTILINE)
    overlay.write_text(text)
    claim = named(rendered(overlay.parent), "PersistentVolumeClaim", "llmclf-cache")["spec"]
    assert claim == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "300Gi"}},
        "storageClassName": "nfs",
    }
