"""What approaches over a referenced base model share (head, instruct, encoder, probe).

A classifier remembers its base by :func:`base_settings` in its header's ``base``, finds it again
with :func:`read_base`, and puts its own tensors and settings into :func:`tensors_fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.models.base import Base, resolve
from llmclf_core.processes import device
from llmclf_core.tokens.batching import Rows, pad, sorted_batches

ADAPTER = "adapter"
"""Directory of the adapter inside a classifier's."""

_DAMAGED = "the file is damaged, train or fetch the classifier again"


def base_settings(base: Base, config: BaseModelConfig) -> dict[str, Any]:
    """What a classifier remembers of its base: where it was, which it is, how it computed."""
    return base.reference() | {
        "quantization": config.quantization,
        "double_quantization": config.double_quantization,
        "dtype": config.dtype,
        "attention": config.attention,
    }


def read_base(
    path: Path, reference: Mapping[str, Any], base: str | None
) -> tuple[Base, BaseModelConfig]:
    """Find the base that a classifier was trained on.

    Args:
        path: the classifier's directory, for messages.
        reference: what :func:`base_settings` gave.
        base: where it lies, when not at the recorded place.

    Returns:
        The base under its recorded name, in the directory where it was found; and how it is loaded.

    Raises:
        UserError: when it cannot be found, or is another one.
    """
    found = resolve(base or reference["source"], None if base else reference["revision"])
    check_base(path, reference, found)
    recorded = Base(reference["source"], reference["revision"], found.directory, found.fingerprint)
    return recorded, base_config_of(reference)


def base_config_of(reference: Mapping[str, Any]) -> BaseModelConfig:
    """The part of :func:`base_settings` that says how the base is loaded."""
    return BaseModelConfig(
        **{k: v for k, v in reference.items() if k in BaseModelConfig.model_fields}
    )


def check_base(path: Path, reference: Mapping[str, Any], found: Base) -> None:
    """Raises UserError when ``found`` is not the base that the classifier was trained on."""
    if found.fingerprint != reference["fingerprint"]:
        raise UserError(
            f"{path} was trained on base model {reference['source']} (fingerprint "
            f"{reference['fingerprint']}), but {found.directory} is another one "
            f"(fingerprint {found.fingerprint}); give the right base model"
        )


def tensors_fingerprint(settings: Any, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (16 hex digits) of JSON-ready settings and of every tensor's name and bytes."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's parameters, by name."""
    return {name: p for name, p in model.named_parameters() if "lora_" in name}


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors as safetensors."""
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, path)


def read_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into those of a model (its ``state_dict()``).

    Raises:
        UserError: when the file is missing, truncated, or not of the same names and shapes.
    """
    try:
        saved = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read the head weights {path}: {error}; {_DAMAGED}") from None
    expected = {name: tensor.shape for name, tensor in weights.items()}
    found = {name: tensor.shape for name, tensor in saved.items()}
    if found != expected:
        raise UserError(
            f"cannot read the head weights {path}: it holds {found}, expected is {expected}; "
            f"{_DAMAGED}"
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(saved[name])


@torch.inference_mode()
def batched_logits(
    model: Callable[[Tensor, Tensor], Tensor],
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    n_labels: int,
    batch_size: int,
    around: Callable[[Rows], AbstractContextManager[None]] = lambda rows: nullcontext(),
) -> npt.NDArray[np.float32]:
    """Logits of token sequences in batches of like length.

    Args:
        model: ids and attention mask, (batch, length), to logits (batch, n_labels).
        sequences: token ids, n of them.
        pad_id: fills batches.
        n_labels: width of the result.
        batch_size: sequences in a forward pass.
        around: entered for each forward pass, given the numbers of its sequences.

    Returns:
        float32, (n, n_labels), in the order given.
    """
    logits = np.zeros((len(sequences), n_labels), dtype=np.float32)
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    for rows in sorted_batches(lengths, batch_size):
        ids, mask = pad([sequences[i] for i in rows], pad_id, device())
        with around(rows):
            logits[rows] = model(ids, mask).float().cpu().numpy()
    return logits
