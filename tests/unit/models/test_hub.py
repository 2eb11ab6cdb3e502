"""What is said when the hub does not give a base model; the hub's client is replaced."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.models import base as module
from llmclf_core.models.base import find_settings, load_backbone, resolve


@pytest.fixture
def hub(monkeypatch):
    """Sets what a download does; gives the arguments of the calls."""

    def install(answer):
        calls = []

        def download(source, **options):
            calls.append((source, options))
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        monkeypatch.setattr(module, "snapshot_download", download)
        return calls

    return install


def refusal(kind, status):
    return kind("refused", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refusal(GatedRepoError, 403), "is gated: accept its licence on the hub and set HF_TOKEN"),
        (refusal(RepositoryNotFoundError, 404), "not found on the hub, nor a local directory"),
        (refusal(RevisionNotFoundError, 404), "not found on the hub, nor a local directory"),
        (refusal(HfHubHTTPError, 503), "the hub cannot be reached"),
        (LocalEntryNotFoundError("none"), "not in the local cache and the hub cannot be reached"),
        (ConnectionResetError("reset"), r"the hub cannot be reached \(ConnectionResetError\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refusals(hub, error, message):
    hub(error)
    with pytest.raises(UserError, match=f"^base model org/name at revision v1.*{message}"):
        resolve("org/name", "v1")


def test_revision_is_the_commit_that_was_found(hub, tiny_base, tmp_path):
    snapshot = shutil.copytree(tiny_base, tmp_path / "0123abcd")
    calls = hub(snapshot)
    found = resolve("org/name", "main")
    assert (found.source, found.revision, found.directory) == ("org/name", "0123abcd", snapshot)
    assert found.fingerprint == resolve(str(tiny_base)).fingerprint
    ((source, options),) = calls
    assert (source, options["revision"]) == ("org/name", "main")
    assert not any("bin" in pattern or pattern == "*" for pattern in options["allow_patterns"])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_setting_reaches_the_model(tiny_base, attention):
    config = BaseModelConfig(source=str(tiny_base), attention=attention)
    model = load_backbone(resolve(str(tiny_base)), config, torch.float32)
    assert model.config._attn_implementation == attention


def test_attention_that_is_not_installed(tiny_base):
    config = BaseModelConfig(source=str(tiny_base), attention="flash_attention_2")
    with pytest.raises(UserError, match=r"cannot load base model .*[Ff]lash"):
        load_backbone(resolve(str(tiny_base)), config, torch.float32)


def test_settings_are_found_without_weights(hub, tiny_base, tmp_path):
    calls = hub(tiny_base)
    found = find_settings("org/name", "main", tmp_path)
    assert (found.source, found.directory, found.fingerprint) == ("org/name", tiny_base, "")
    assert "config.json" not in calls[0][1]["ignore_patterns"]
    assert "*.json" in calls[0][1]["allow_patterns"]
    assert "*.safetensors" not in calls[0][1]["allow_patterns"]
    hub(refusal(GatedRepoError, 403))
    with pytest.raises(UserError, match="is gated"):
        find_settings("org/name", None, tmp_path)
    with pytest.raises(UserError, match="no such file or directory"):
        find_settings("/no/where", None, tmp_path)
    assert find_settings(str(tiny_base), None, tmp_path).directory == tiny_base
