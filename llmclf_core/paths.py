"""Where things lie: the cache directory, expansion of user-given paths, content fingerprints."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def cache_dir() -> Path:
    """The directory for converted weights, downloads and training checkpoints.

    ``LLMCLF_CACHE`` when set, else ``~/.cache/llmclf``. It may be deleted at any time: everything
    in it can be made again.
    """
    return Path(os.environ.get("LLMCLF_CACHE") or Path.home() / ".cache" / "llmclf")


def expand(path: str) -> Path:
    """Expand ``~`` and environment variables; ``${LLMCLF_CACHE}`` works even when it is unset."""
    text = path.replace("${LLMCLF_CACHE}", str(cache_dir()))
    return Path(os.path.expandvars(text)).expanduser()


def fingerprint(*parts: Any) -> str:
    """SHA-256 (16 hex digits) of JSON-serialisable parts; equal parts give equal fingerprints."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
