"""The pretrained model: find it, name it, load its backbone.

Whatever the user names (hub id, directory, GGUF file) becomes a local directory with
``config.json``, safetensors and a tokenizer. The weights are referenced, never copied into what we
save; the fingerprint tells whether an adapter meets the base that it was trained on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
)

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.files import atomic_directory
from llmclf_core.models import last_layer
from llmclf_core.models.attention import use_blocked_attention
from llmclf_core.models.bfloat16 import native_bfloat16, widen_products
from llmclf_core.models.rms_norm import use_fast_norms
from llmclf_core.models.weights import weights_fingerprint
from llmclf_core.paths import cache_dir, expand, file_sha256
from llmclf_core.processes import device

log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")
_WEIGHTS = "*.safetensors"
_REARRANGES = "support_avx512bf16_for_cpu"
_HUB_FILES = ["*.json", _WEIGHTS, "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class Base:
    """A resolved base model.

    Attributes:
        source: as the user named it; goes into the saved classifier as the reference.
        revision: commit on the hub, or None for local weights.
        directory: where the files lie now.
        fingerprint: of architecture and weights, 16 hex digits.
    """

    source: str
    revision: str | None
    directory: Path
    fingerprint: str

    def reference(self) -> dict[str, Any]:
        """What a saved classifier remembers of its base."""
        return {
            "source": self.source,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
        }


def resolve(source: str, revision: str | None = None) -> Base:
    """Find a base model and make it a local directory.

    Args:
        source: hub id, directory or GGUF file.
        revision: git revision, for a hub id only.

    Raises:
        UserError: when it does not exist, may not be downloaded, or holds no safetensors.
    """
    path = expand(source)
    if path.suffix == ".gguf":
        return _from_gguf(source, path)
    if path.is_dir():
        return Base(source, None, path, weights_fingerprint(path))
    if not _HUB_ID.match(source):
        raise UserError(f"base model {source}: no such file or directory ({path})")
    directory = _download(source, revision)
    return Base(source, directory.name, directory, weights_fingerprint(directory))


def find_settings(source: str, revision: str | None, scratch: Path) -> Base:
    """A base model's ``config.json`` and tokenizer, without its weights; it has no fingerprint.

    Args:
        source: as :func:`resolve` has it.
        revision: git revision, for a hub id only.
        scratch: what cannot be read where it lies is written there.

    Raises:
        UserError: when it does not exist or may not be downloaded.
    """
    path = expand(source)
    if path.suffix == ".gguf":
        return Base(source, None, _gguf_settings(source, path, scratch), "")
    if path.is_dir():
        return Base(source, None, path, "")
    if not _HUB_ID.match(source):
        raise UserError(f"base model {source}: no such file or directory ({path})")
    without = [pattern for pattern in _HUB_FILES if pattern != _WEIGHTS]
    return Base(source, revision, _download(source, revision, without), "")


def _gguf_settings(source: str, path: Path, scratch: Path) -> Path:
    if not path.is_file():
        raise UserError(f"base model {source}: no such file ({path})")
    converted = _converted(file_sha256(path)[:16])
    if converted.exists():
        return converted
    try:
        for kind in (AutoConfig, AutoTokenizer):
            kind.from_pretrained(
                path.parent, gguf_file=path.name, trust_remote_code=False
            ).save_pretrained(scratch)
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path} is not a GGUF file that transformers reads: {error}") from None
    return scratch


def _converted(digest: str) -> Path:
    return cache_dir() / "models" / f"gguf-{digest}"


def _download(source: str, revision: str | None, files: Sequence[str] = _HUB_FILES) -> Path:
    where = f"base model {source}" + (f" at revision {revision}" if revision else "")
    try:
        return Path(
            snapshot_download(
                source,
                revision=revision,
                allow_patterns=list(files),
                ignore_patterns=["original/*"],
            )
        )
    except GatedRepoError:
        raise UserError(
            f"{where} is gated: accept its licence on the hub and set HF_TOKEN in the environment"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise UserError(f"{where}: not found on the hub, nor a local directory") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"{where} is not in the local cache and the hub cannot be reached "
            f"({type(error).__name__}); connect, or name a directory or GGUF file that is here"
        ) from None


def _from_gguf(source: str, path: Path) -> Base:
    """De-quantise a GGUF file once into the cache; only then are weights ordinary and fast to
    reload."""
    if not path.is_file():
        raise UserError(f"base model {source}: no such file ({path})")
    digest = file_sha256(path)[:16]
    directory = _converted(digest)
    if not directory.exists():
        log.info("converting %s to safetensors, once", path.name)
        try:
            with atomic_directory(directory) as draft:
                _convert_gguf(path, draft)
        except (ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{path} is not a GGUF file that transformers reads: {error}") from None
    return Base(source, None, directory, digest)


def _convert_gguf(path: Path, output: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(
        path.parent, gguf_file=path.name, trust_remote_code=False
    ).save_pretrained(output)


def compute_dtype(setting: str) -> torch.dtype:
    """``auto`` to bfloat16 where the hardware multiplies it natively, else float32."""
    if setting != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[setting]
    return torch.bfloat16 if native_bfloat16() else torch.float32


def resolve_dtype(config: BaseModelConfig) -> BaseModelConfig:
    """The same settings with ``dtype`` by name, so that whoever loads them computes alike."""
    dtype = str(compute_dtype(config.dtype)).removeprefix("torch.")
    return config.model_copy(update={"dtype": dtype})


def load_backbone(base: Base, config: BaseModelConfig, dtype: torch.dtype) -> Any:
    """Load the decoder without its language-model head, frozen, on this process's device.

    Args:
        base: the resolved model.
        config: quantisation and attention settings.
        dtype: compute type; with NF4 the type that weights are de-quantised to.

    Returns:
        A transformers ``PreTrainedModel`` whose output has ``last_hidden_state``.

    Raises:
        UserError: for weights that transformers cannot load.
    """
    model = load_pretrained(AutoModel, base, config, dtype)
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.eval()


def load_pretrained(
    kind: Any,
    base: Base,
    config: BaseModelConfig,
    dtype: torch.dtype,
    unquantized: Sequence[str] = (),
    model_config: Any = None,
    **options: Any,
) -> Any:
    """Load weights as any kind of model, on this process's device.

    Args:
        kind: an ``AutoModel`` class of transformers.
        base: the resolved model.
        config: quantisation and attention settings.
        dtype: compute type; with NF4 the type that weights are de-quantised to.
        unquantized: modules that NF4 leaves as they are, in place of transformers' own choice.
        model_config: in place of the one that lies with the weights.
        **options: of ``from_pretrained``, whose result is returned.

    Raises:
        UserError: for weights that transformers cannot load.
    """
    options |= {"dtype": dtype, "device_map": {"": str(device())}}
    if model_config is not None:
        options["config"] = model_config
    if config.attention != "auto":
        options["attn_implementation"] = config.attention
    if config.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=config.double_quantization,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(unquantized) or None,
        )
    try:
        model = kind.from_pretrained(
            base.directory, use_safetensors=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise UserError(f"cannot load base model {base.source}: {error}") from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise UserError(
            f"the weights of base model {base.source} are damaged ({error}); fetch it again"
        ) from None
    plain = model[0] if isinstance(model, tuple) else model
    _keep_layout(plain)
    use_fast_norms(plain)
    if config.attention == "auto":
        use_blocked_attention(plain)
    if not native_bfloat16():
        widen_products(plain)
    last_layer.prepare(plain)
    return model


def _keep_layout(model: nn.Module) -> None:
    """On processors with bfloat16, bitsandbytes would rearrange NF4 weights for good in the first
    pass without gradients, and compute none through them any more in the next training step."""
    for module in model.modules():
        if hasattr(module, _REARRANGES):
            setattr(module, _REARRANGES, False)


def bare_model(kind: Any, directory: Path) -> Any:
    """A frozen model of a configuration, with weights of no meaning; on meta it takes no memory.

    Args:
        kind: an ``AutoModel`` class of transformers.
        directory: holds ``config.json``.
    """
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    return kind.from_config(config, trust_remote_code=False).requires_grad_(False)


def checkpoint_class(config: Any, default: Any) -> Any:
    """The ``AutoModel`` class that makes what a configuration's weights were saved from."""
    named = (config.architectures or [""])[0]
    kinds = {"CausalLM": AutoModelForCausalLM, "MaskedLM": AutoModelForMaskedLM, "Model": AutoModel}
    return next((kind for end, kind in kinds.items() if named.endswith(end)), default)


def context_length(base: Base) -> int:
    """Most tokens that the base model was made for.

    Raises:
        UserError: for a model that transformers does not know.
    """
    try:
        config = AutoConfig.from_pretrained(base.directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot load base model {base.source}: {error}") from None
    config = config.get_text_config()
    return int(getattr(config, "max_position_embeddings", 1 << 30))
