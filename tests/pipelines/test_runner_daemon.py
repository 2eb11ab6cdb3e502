"""How containers are started on daemons of every kind; a stand-in answers for them."""

import logging
import os
from types import SimpleNamespace

import docker
import pytest
import requests
from docker.errors import DockerException, ImageNotFound

from llmclf_core import __version__
from llmclf_core.errors import UserError
from pipelines import containers, daemon, stopping

GPUS = {"Runtimes": {"runc": {}, "nvidia": {}}}
CPU = {"llmclf.variant": "cpu"}
CUDA = {"llmclf.variant": "cuda"}


class Client:
    """What of docker's client is used."""

    def __init__(self, info=None, images=None):
        self.info = lambda: info or {"Runtimes": {"runc": {}}}
        self._labels = {"img": CPU} if images is None else images
        self.images = SimpleNamespace(get=self._get)
        self.containers = SimpleNamespace(list=lambda **_: [])

    def _get(self, name):
        if name not in self._labels:
            raise ImageNotFound(name)
        return SimpleNamespace(id=f"id of {name}", labels=self._labels[name])

    def close(self):
        pass


@pytest.fixture
def answer(monkeypatch):
    """Puts a stand-in in the place of the daemon."""
    monkeypatch.delenv("LLMCLF_IMAGE", raising=False)
    monkeypatch.setattr(daemon, "git_commit", lambda: "abc")

    def use(**given):
        client = Client(**given)
        monkeypatch.setattr(docker, "from_env", lambda: client)
        return client

    return use


@pytest.fixture
def started(answer, tmp_path):
    """The arguments of a container, as a daemon is asked to start it."""

    def arguments(image="img", **given):
        answer(**given)
        runner = containers.docker_runner(image, tmp_path / "run", [tmp_path], [], {"A": "b"})
        return runner.container_run_args

    return arguments


@pytest.mark.parametrize(
    ("info", "images", "chosen", "gpus", "warned"),
    [
        (None, {"img": CPU, "img-cuda": CUDA}, "img", False, False),
        (GPUS, {"img": CPU, "img-cuda": CUDA}, "img-cuda", True, False),
        (GPUS, {"img": CPU}, "img", False, True),
        (GPUS, {"img": {}}, "img", True, False),  # somebody's own, of which nothing is known
    ],
)
def test_gpus_are_used_by_an_image_that_can(
    answer, started, caplog, info, images, chosen, gpus, warned
):
    answer(info=info, images=images)
    with caplog.at_level(logging.WARNING):
        assert daemon.choose_image("img") == (chosen, f"id of {chosen}")
    assert ("has PyTorch for CPUs: the steps run without" in caplog.text) == warned
    (*requests_,) = started(chosen, info=info, images=images)["device_requests"]
    assert [r["Capabilities"] for r in requests_] == [[["gpu"]]] * gpus


def test_an_image_that_is_named_stands(answer, monkeypatch):
    answer(info=GPUS, images={"img": CUDA, "img-cuda": CUDA})
    monkeypatch.setenv("LLMCLF_IMAGE", "img")
    assert daemon.choose_image("img").name == "img"


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}, "rootless docker"),
        ({"OperatingSystem": "Docker Desktop"}, "Docker Desktop"),
    ],
)
def test_daemons_with_other_users_and_networks_are_refused(answer, info, kind):
    answer(info=info)
    with pytest.raises(UserError, match=f"--runner docker does not work with {kind}"):
        daemon.choose_image("img")


@pytest.mark.parametrize(
    ("options", "userns", "security"),
    [
        (None, None, []),
        (["name=userns", "name=seccomp,profile=builtin"], "host", []),
        (["name=selinux"], None, ["label=disable"]),
    ],
)
def test_mounts_are_reached_where_users_or_files_have_other_names(
    started, options, userns, security
):
    found = started(info={"SecurityOptions": options})
    assert found.get("userns_mode") == userns
    assert found["security_opt"] == ["no-new-privileges", *security]
    assert found["cap_drop"] == ["ALL"]


def test_an_image_of_another_version_is_refused(answer):
    answer(images={"img": {"org.opencontainers.image.version": "0.0.9"}})
    with pytest.raises(UserError, match=rf"img holds llmclf 0.0.9, and this is {__version__}: "):
        daemon.choose_image("img")


@pytest.mark.parametrize(("revision", "warned"), [("abc", False), ("abc-dirty", True)])
def test_an_image_of_another_commit_is_named(answer, caplog, revision, warned):
    labels = {"version": __version__, "revision": revision}
    answer(images={"img": {f"org.opencontainers.image.{k}": v for k, v in labels.items()}})
    with caplog.at_level(logging.WARNING):
        daemon.choose_image("img")
    assert (f"img was made of commit {revision}, and here is abc" in caplog.text) == warned


def test_who_may_not_ask_the_daemon_is_told_the_group(monkeypatch):
    def refuse():
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as error:
            raise DockerException("Error while fetching server API version") from error

    monkeypatch.setattr(docker, "from_env", refuse)
    with pytest.raises(UserError, match=r"\(Permission denied\): join the group docker \(`sudo "):
        daemon.choose_image("img")


def test_large_temporary_files_go_to_disk_and_go_with_the_run(started, tmp_path):
    found = started()
    place = found["environment"]["TMPDIR"]
    assert [m["Source"] for m in found["mounts"] if m["Target"] == place] == [
        str(tmp_path / "run" / "tmp")
    ]
    assert len(place) < 40  # sockets are made there: 107 characters in all
    assert found["environment"]["A"] == "b"
    (tmp_path / "run" / "tmp" / "left").write_text("x")
    with containers.ended_with(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_groups_of_the_caller_are_those_of_the_steps(started, monkeypatch):
    monkeypatch.setattr(os, "getgroups", lambda: [0, 27, 1000])
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert started()["group_add"] == ["27", "1000"]
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "lchown", lambda *_: None)
    assert started()["group_add"] == []


@pytest.mark.parametrize("error", [DockerException, requests.ConnectionError])
def test_a_daemon_that_went_away_does_not_hide_what_went_wrong(monkeypatch, tmp_path, error):
    def gone():
        raise error("no daemon")

    monkeypatch.setattr(docker, "from_env", gone)
    with pytest.raises(UserError, match="the step's own"), containers.ended_with(tmp_path):
        raise UserError("the step's own")


def test_a_container_made_while_the_run_is_stopped_does_not_stay():
    removed = []

    def run(*_, **__):
        stopping.stopped.set()  # after it was looked at, and after others were removed
        return SimpleNamespace(remove=lambda force: removed.append(force))

    client = SimpleNamespace(containers=SimpleNamespace(run=run))
    try:
        assert containers.run_container(client, "img", ["true"], {}) == stopping.KILLED
    finally:
        stopping.stopped.clear()
    assert removed == [True]
