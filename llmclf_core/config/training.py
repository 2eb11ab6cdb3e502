"""Settings of the training loop, the same for all neural approaches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmclf_core.config.sections import Fraction, NonNegative, PositiveInt, Section


class TrainingConfig(Section):
    """The training loop, the same for all neural approaches."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 8
    """Rows in a batch, on each process."""
    accumulation: PositiveInt = 1
    """Batches in one optimiser step."""
    pass_tokens: PositiveInt | None = None
    """Most tokens, padding included, that a forward pass reads at once; a step's rows are dealt out
    among as many passes as that takes, and their gradients add up. A single row may have more.
    Unset: whole batches on a GPU; on a processor about a thousand tokens, two thousand in bfloat16,
    which is faster there and takes less memory. The trained weights are the same to rounding, and
    to what dropout draws."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak rate of the adapter."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate of the head. Unset: ``learning_rate``."""
    weight_decay: NonNegative = 0.01
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay to zero after the warm-up."""
    warmup: Fraction = 0.06
    """Share of the steps in which the rate rises linearly from zero."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """``adamw_8bit`` (bitsandbytes) keeps its state in 8 bits."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """``cross_entropy`` is binary cross-entropy a label when multi-label. ``focal``:
    arXiv 1708.02002."""
    focal_gamma: NonNegative = 2.0
    """How much ``focal`` turns from easy rows to hard ones; 0 is plain cross-entropy."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced``: weights inversely proportional to label frequency in the training rows."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """Run the layers by PyTorch's compiler: it takes a minute or so in the first steps, and saves
    time in the others, on a GPU above all. Needs a C++ compiler where the training runs. The
    trained weights are the same to rounding."""
    frozen_layers: Literal["auto", "cache", "compute"] = "auto"
    """Layers below the lowest adapter (``lora.top_layers``) give the same in every epoch.
    ``cache``: compute them once for each row and keep the result on disk, for other seeds, too;
    ``compute``: always anew. ``auto`` caches where there are several epochs and it takes less than
    a quarter of the free disk. The trained weights are the same to rounding. An encoder computes:
    its dropout differs in every pass."""
    evaluations_per_epoch: PositiveInt = 1
    """Validations in an epoch; each may become the best checkpoint."""
    patience: int = Field(default=2, ge=0)
    """Stop after this many validations without a better metric; 0: never."""
    metric: Literal["macro_f1", "micro_f1"] = "macro_f1"
    """Validation metric that chooses the best checkpoint and stops early; equal ones are told apart
    by the validation loss."""
    memory_check: Literal["refuse", "warn", "off"] = "refuse"
    """What to do before training when it will not fit into memory (``llmclf plan`` says what
    would)."""
    checkpoint_seconds: NonNegative = 60.0
    """At most this much training is lost when the process is killed; 0 saves after every step."""


class EncoderTrainingConfig(TrainingConfig):
    """The loop with defaults for training all weights of an encoder (arXiv 1810.04805)."""

    epochs: PositiveInt = 4
    batch_size: PositiveInt = 16
    """Rows in a batch, on each process."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak rate of all weights, or of the adapter."""
    warmup: Fraction = 0.1
    """Share of the steps in which the rate rises linearly from zero."""
