"""Instruction tuning: TRL's ``SFTTrainer`` and PEFT, the loss on the answer alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from peft import TaskType
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from benchmarks.reference.recipe import Recipe, arguments, load, lora
from benchmarks.reference.rows import Rows

PROMPT = (
    "Classify the text into {labels} and return the answer as the exact text label.\n"
    "text: {text}\nlabel:"
)
"""The paper's."""


def make_trainer(
    recipe: Recipe,
    rows: Rows,
    output: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> SFTTrainer:
    """A trainer that is ready to ``train()``: random order, dynamic padding.

    Args:
        recipe: the settings; texts have to leave room for prompt and answer in ``max_length``, or
            TRL cuts the answer off.
        rows: the task, single- or multi-label.
        output: the trainer's directory.
        callbacks: told of every step.
    """
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    model = load(AutoModelForCausalLM, recipe, "lm_head")
    model.config.use_cache = False
    return SFTTrainer(
        model=model,
        args=SFTConfig(
            max_length=recipe.max_length,
            packing=False,
            completion_only_loss=True,
            **arguments(recipe, output),
        ),
        train_dataset=examples(rows),
        processing_class=tokenizer,
        peft_config=lora(recipe, model, TaskType.CAUSAL_LM),
        callbacks=list(callbacks),
    )


def examples(rows: Rows) -> Dataset:
    """Columns ``prompt`` and ``completion`` of the training rows."""
    asked = PROMPT.replace("{labels}", ", ".join(rows.labels))
    return Dataset.from_dict(
        {
            "prompt": [asked.replace("{text}", row.text) for row in rows.train],
            "completion": [" " + ", ".join(row.labels) for row in rows.train],
        }
    )
