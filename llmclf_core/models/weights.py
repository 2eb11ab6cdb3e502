"""Which weights a directory holds, told apart without reading all of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from llmclf_core.errors import UserError

_SAMPLES = 16
_SAMPLE_BYTES = 1 << 16
_VOLATILE = {"transformers_version", "_name_or_path", "torch_dtype", "dtype", "architectures"}


def weights_fingerprint(directory: Path) -> str:
    """Hash the architecture, every tensor's name, shape and type, and samples of the bytes.

    Reading 16 GB of weights at each start would cost more than it tells: headers and 1 MiB of
    samples from each file separate any two models that were trained apart.

    Returns:
        16 hex digits.

    Raises:
        UserError: when there are no safetensors, or a file is damaged.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files or not (directory / "config.json").is_file():
        raise UserError(
            f"base model {directory}: needs config.json and *.safetensors "
            "(pickled weights are not loaded)"
        )
    digest = hashlib.sha256()
    try:
        config = json.loads((directory / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"base model {directory}: config.json is broken ({error})") from None
    kept = {key: value for key, value in config.items() if key not in _VOLATILE}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    for file in files:
        _hash_sampled(file, digest)
    return digest.hexdigest()[:16]


def _hash_sampled(file: Path, digest: Any) -> None:
    size = file.stat().st_size
    with file.open("rb") as handle:
        header = int.from_bytes(handle.read(8), "little")
        if header > size:
            raise UserError(f"{file} is truncated or not safetensors; fetch the base model again")
        digest.update(handle.read(header))
        for i in range(_SAMPLES):
            handle.seek(8 + header + (size - 8 - header) * i // _SAMPLES)
            digest.update(handle.read(_SAMPLE_BYTES))
