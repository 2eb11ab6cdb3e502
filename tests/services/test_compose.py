"""infra/compose.yaml, read by Docker Compose itself: nothing starts without credentials."""

import os
import stat
import subprocess

import pytest

import llmclf_core
from tests.services.stack import BIN, COMPOSE_FILE, CREDENTIALS, credentials, resolved

ONCE = {"bucket", "objects-owner"}


@pytest.fixture(scope="module")
def env_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("compose") / ".env"
    credentials(path)
    return path


@pytest.fixture(scope="module")
def services(env_file):
    return resolved(env_file)


def config(env_file, **environment):
    command = [str(BIN / "docker-compose"), "-f", str(COMPOSE_FILE), "--env-file", str(env_file)]
    clean = {"PATH": os.environ["PATH"]} | environment
    return subprocess.run(
        [*command, "config", "--quiet"], capture_output=True, text=True, env=clean
    )


def test_every_credential_is_required(env_file, tmp_path):
    lines = env_file.read_text().splitlines()
    assert config(env_file).returncode == 0
    for left_out in lines:
        name, _, _ = left_out.partition("=")
        for rest in ([], [f"{name}="]):
            (tmp_path / ".env").write_text("\n".join([x for x in lines if x != left_out] + rest))
            done = config(tmp_path / ".env")
            assert done.returncode != 0
            assert f"{name} is missing a value: run infra/compose/credentials.sh" in done.stderr


def test_compose_refuses_a_wrong_field(env_file, tmp_path):
    text = COMPOSE_FILE.read_text().replace("    healthcheck:", "    healthchecks:", 1)
    (tmp_path / "compose.yaml").write_text(text)
    command = [str(BIN / "docker-compose"), "-f", str(tmp_path / "compose.yaml")]
    done = subprocess.run(
        [*command, "--env-file", str(env_file), "config", "--quiet"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "healthchecks" in done.stderr


def test_credentials_are_random_private_and_kept(tmp_path):
    one, two = credentials(tmp_path / "one"), credentials(tmp_path / "two")
    for name, value in one.items():
        assert name == "LLMCLF_MLFLOW_USERNAME" or (value != two[name] and len(value) >= 20)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    before = (tmp_path / "one").read_text()
    again = subprocess.run([CREDENTIALS, tmp_path / "one"], capture_output=True, text=True)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert (tmp_path / "one").read_text() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["one", "two"]


def test_the_file_itself_has_no_credential():
    done = subprocess.run(
        ["git", "check-ignore", "infra/.env"], cwd=COMPOSE_FILE.parents[1], capture_output=True
    )
    assert done.returncode == 0, "infra/.env is not ignored by git"


def test_only_mlflow_is_published_and_on_loopback(services):
    published = {name: s["ports"] for name, s in services.items() if s.get("ports")}
    assert list(published) == ["mlflow"]
    (port,) = published["mlflow"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "5000", 5000)
    assert {n for n, s in services.items() if "front" in (s.get("networks") or {})} == {"mlflow"}


def test_files_on_their_way_need_no_memory(services):
    (scratch,) = (v for v in services["mlflow"]["volumes"] if v["target"] == "/tmp")
    assert (scratch["type"], scratch["source"]) == ("volume", "scratch")
    assert "tmpfs" not in services["mlflow"]


def test_every_service_is_hardened(services):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert not service.get("privileged"), name
        assert name in ONCE or service["healthcheck"]["test"], name
        if name == "objects-owner":  # alone and once, to give a new volume away
            assert (service["network_mode"], service["cap_add"]) == ("none", ["CHOWN"])
        else:
            assert int(service["user"].split(":")[0]) > 0, name
            assert "cap_add" not in service, name


def test_images_are_pinned(services):
    images = {service["image"] for service in services.values()}
    assert f"llmclf:{llmclf_core.__version__}" in images
    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_no_command_shows_a_secret(services, env_file):
    secrets = [line.split("=")[1] for line in env_file.read_text().splitlines()]
    secrets.remove("admin")
    for service in services.values():
        shown = " ".join([*(service.get("entrypoint") or []), *(service["command"] or [])])
        assert not [s for s in secrets if s in shown]
