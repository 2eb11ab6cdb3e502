"""The reference recipe: the settings of the paper's code, and the model that they train.

Where that code is at odds with itself (fp16 over bf16, truncated training rows) the recipe is not.
Gradient checkpointing, TRL's default, is off: it would only make the reference slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, TaskType, prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training or a prediction.

    Attributes:
        base: directory of the base model.
        precision: of the base's weights.
        dtype: compute type; of the weights, too, unless these are NF4.
        epochs, batch_size, accumulation: the loop; the effective batch is the last two's product.
        max_length: tokens kept of a text.
        learning_rate, weight_decay: AdamW's; the rate falls linearly.
        rank, alpha, dropout: of the adapter on all seven projections.
        top_layers: only the last n layers get an adapter; None: all.
        seed: of everything random.
    """

    base: Path
    precision: Literal["fp32", "bf16", "nf4"] = "nf4"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    epochs: int = 3
    batch_size: int = 4
    accumulation: int = 8
    max_length: int = 512
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    rank: int = 16
    alpha: int = 16
    dropout: float = 0.05
    top_layers: int | None = None
    seed: int = 0


def load(kind: Any, recipe: Recipe, head: str, **options: Any) -> Any:
    """The base model; NF4 as QLoRA prepares it.

    Args:
        kind: an ``AutoModel`` class.
        recipe: base, precision and compute type.
        head: the module that is never quantised.
        **options: of ``from_pretrained``.
    """
    dtype = getattr(torch, recipe.dtype)
    if recipe.precision == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=[head],
        )
    model = kind.from_pretrained(recipe.base, dtype=dtype, use_safetensors=True, **options)
    if recipe.precision == "nf4":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model


def lora(recipe: Recipe, model: Any, task: TaskType) -> LoraConfig:
    """The adapter."""
    layers = None
    if recipe.top_layers is not None:
        total = model.config.num_hidden_layers
        layers = list(range(total - recipe.top_layers, total))
    return LoraConfig(
        task_type=task,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=PROJECTIONS,
        layers_to_transform=layers,
        bias="none",
    )


def arguments(recipe: Recipe, output: Path) -> dict[str, Any]:
    """What ``TrainingArguments`` and ``SFTConfig`` are given alike."""
    return {
        "output_dir": str(output),
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": 16,
        "gradient_accumulation_steps": recipe.accumulation,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "bf16": recipe.dtype == "bfloat16",
        "fp16": False,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "seed": recipe.seed,
        "include_num_input_tokens_seen": "non_padding",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
