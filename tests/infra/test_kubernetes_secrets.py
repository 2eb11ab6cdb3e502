"""Secrets are where they belong: random or given, private, kept, and nowhere else."""

from __future__ import annotations

import base64
import stat
import subprocess

import pytest

from tests.infra.manifests import (
    EXTERNAL,
    OVERLAYS,
    SOURCE,
    copy_manifests,
    kustomize,
    make_secrets,
    objects,
    of_kind,
)

SECRET_FILES = ("tracking.env", "mlflow.env", "stores.env")
ALL = pytest.mark.parametrize("overlay", OVERLAYS)


def _values(overlay):
    found = of_kind(objects(overlay), "Secret")
    return {
        (secret["metadata"]["name"], key): base64.b64decode(value).decode()
        for secret in found
        for key, value in secret["data"].items()
    }


@ALL
def test_secrets_are_in_secret_objects_only(overlay):
    others = str([one for one in objects(overlay) if one["kind"] != "Secret"])
    for (name, key), value in _values(overlay).items():
        assert key.endswith("username") or value not in others, (name, key)


def test_generated_secrets_are_long_and_differ():
    small = _values("small")
    generated = {k: v for k, v in small.items() if not k[1].endswith("username")}
    assert len(generated) == 6
    assert all(len(value) == 48 for value in generated.values())
    assert len(set(generated.values())) == 6
    assert not set(generated.values()) & set(_values("gpu").values())


def test_external_secrets_are_those_given():
    values = _values("external")
    assert values["llmclf-stores", "database-password"] == EXTERNAL["DATABASE_PASSWORD"]
    assert values["llmclf-stores", "access-key-id"] == EXTERNAL["S3_ACCESS_KEY_ID"]
    assert values["llmclf-stores", "secret-access-key"] == EXTERNAL["S3_SECRET_ACCESS_KEY"]


def test_a_profile_gets_no_secret_of_the_server():
    assert {name for name, _ in _values("profile")} == {"llmclf-tracking"}


def test_without_secrets_nothing_is_rendered(tmp_path):
    root = copy_manifests(tmp_path)
    for overlay in OVERLAYS:
        done = kustomize(root / "overlays" / overlay)
        assert done.returncode != 0
        assert done.stdout == ""
        assert "made-by-make-secrets.sh/tracking.env" in done.stderr
        assert "no such file" in done.stderr


def test_secret_files_are_private_and_kept(tmp_path):
    root = copy_manifests(tmp_path)
    assert make_secrets(root).returncode == 0
    folder = root / "secrets" / "made-by-make-secrets.sh"
    before = {name: (folder / name).read_bytes() for name in SECRET_FILES}
    assert sorted(before) == sorted(path.name for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in SECRET_FILES:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    again = make_secrets(root)
    assert again.returncode == 0
    assert again.stdout.count("kept") == 3
    assert before == {name: (folder / name).read_bytes() for name in SECRET_FILES}
    fields = dict(_fields(b"".join(before.values()).decode()))
    hidden = [value for name, value in fields.items() if not name.endswith("username")]
    assert len(hidden) == 6
    assert not any(value in again.stdout + again.stderr for value in hidden)


def _fields(text):
    return (line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize(("first", "then"), [([], ["external"]), (["external"], [])])
def test_secrets_of_other_stores_are_not_taken_for_these(tmp_path, first, then):
    root = copy_manifests(tmp_path)
    assert make_secrets(root, *first, **EXTERNAL).returncode == 0
    assert make_secrets(root, *first).returncode == 0  # kept, so not asked for again
    done = make_secrets(root, *then, **EXTERNAL)
    assert done.returncode == 1
    assert "stores.env was not made for" in done.stderr
    assert "move it away" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["external"], "set DATABASE_PASSWORD"), (["extern"], "unknown argument 'extern'")],
)
def test_make_secrets_says_what_is_wrong(tmp_path, arguments, message):
    root = copy_manifests(tmp_path)
    done = make_secrets(root, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (root / "secrets" / "made-by-make-secrets.sh").exists()


def test_git_ignores_the_secrets():
    for name in SECRET_FILES:
        path = SOURCE / "secrets" / "made-by-make-secrets.sh" / name
        asked = subprocess.run(["git", "check-ignore", "-q", path], cwd=SOURCE)
        assert asked.returncode == 0
    tracked = subprocess.run(
        ["git", "ls-files", SOURCE], cwd=SOURCE, capture_output=True, text=True
    )
    assert "made-by-make-secrets.sh/" not in tracked.stdout
