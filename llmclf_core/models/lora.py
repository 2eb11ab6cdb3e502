"""Low-rank adapters on a frozen backbone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

from llmclf_core.config import LoraConfig
from llmclf_core.errors import UserError
from llmclf_core.models.dropout import Dropout
from llmclf_core.models.low_rank import LowRank
from llmclf_core.models.one_input import compute_together
from llmclf_core.processes import on_cpu


def add_adapter(
    backbone: Any, config: LoraConfig, base_source: str, exclude: Sequence[str] = ()
) -> PeftModel:
    """Wrap a backbone with a fresh adapter; its second factor is zero, so nothing changes yet.

    Args:
        backbone: a transformers model.
        config: rank, targets and so on.
        base_source: recorded as the base's name in ``adapter_config.json``.
        exclude: names of modules that get no adapter.

    Raises:
        UserError: for targets that the model does not have, or more layers than it has.
    """
    peft_config = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=_targets(backbone, config),
        use_rslora=config.rslora,
        bias="none",
        exclude_modules=list(exclude) or None,
        base_model_name_or_path=base_source,
    )
    model = get_peft_model(backbone, peft_config)
    model.peft_config["default"].base_model_name_or_path = base_source
    for layer in _adapted(model):
        LowRank.use(layer)
        if config.dropout:
            layer.lora_dropout["default"] = Dropout(config.dropout)
    if on_cpu():
        compute_together(model)
    return model


def _targets(backbone: Any, config: LoraConfig) -> list[str]:
    """Names of the linear layers to adapt: last parts, or whole names with ``top_layers``.

    Never the output embedding, whose weights are often the input's too.
    """
    output = backbone.get_output_embeddings()
    linear = [(name, m) for name, m in backbone.named_modules() if _is_linear(m)]
    names = [name for name, module in linear if module is not output]
    known = sorted({name.rsplit(".", 1)[-1] for name in names})
    wanted = known if config.targets == "all-linear" else list(config.targets)
    if unknown := set(wanted) - set(known):
        raise UserError(
            f"lora.targets: the base model has no linear layer {', '.join(sorted(unknown))}; "
            f"it has {', '.join(known)}"
        )
    if config.top_layers is None:
        return wanted
    top = _top_layers(backbone, config.top_layers)
    return [n for n in names if n.rsplit(".", 1)[-1] in wanted and _layer_number(n) in top]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ in ("Linear4bit", "Conv1D")


def _top_layers(backbone: Any, top: int) -> range:
    total = int(backbone.config.get_text_config().num_hidden_layers)
    if top > total:
        raise UserError(f"lora.top_layers is {top}, but the base model has {total} layers")
    return range(total - top, total)


def _layer_number(name: str) -> int:
    """``layers.28.mlp.up_proj`` to 28; -1 for a module outside the layers."""
    return next((int(part) for part in name.split(".") if part.isdigit()), -1)


def adapter_scales(model: PeftModel) -> dict[str, float]:
    """The factor on each adapted layer's output, by the layer's name."""
    return {
        name: float(module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def save_adapter(model: PeftModel, path: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``."""
    model.save_pretrained(str(path), safe_serialization=True, save_embedding_layers=False)
    (path / "README.md").unlink(missing_ok=True)  # an empty model card
    _sort_names(path / "adapter_config.json")


def _sort_names(file: Path) -> None:
    """PEFT keeps names in sets, whose order is another in every process."""
    config = json.loads(file.read_text("utf-8"))
    for name in ("target_modules", "exclude_modules"):
        if isinstance(config[name], list):
            config[name].sort()
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def load_adapter(backbone: Any, path: Path) -> PeftModel:
    """Put a saved adapter on the base that it was trained on, for predictions.

    It is merged into float32 weights, which spares its own products. In coarser ones it would lose
    digits, so that there it stays beside them.

    Raises:
        UserError: when its files are missing, truncated, or do not fit the base.
    """
    if not (path / "adapter_model.safetensors").is_file():
        raise UserError(f"{path} holds no adapter: adapter_model.safetensors is missing")
    try:
        model = PeftModel.from_pretrained(backbone, str(path), is_trainable=False)
    except Exception as error:
        if isinstance(error, KeyboardInterrupt | torch.OutOfMemoryError):
            raise
        raise UserError(
            f"cannot load the adapter in {path}: {error}; the files are damaged or belong to "
            "another base model; train or fetch the classifier again"
        ) from None
    if all(m.get_base_layer().weight.dtype == torch.float32 for m in _adapted(model)):
        model.merge_adapter()
    else:
        for layer in _adapted(model):
            LowRank.use(layer)
    return model.eval()


def _adapted(model: PeftModel) -> list[LoraLayer]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]
