"""Fine-tuning with a classification head: plain ``transformers.Trainer`` and PEFT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import TaskType, get_peft_model
from sklearn.metrics import f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.reference.recipe import Recipe, arguments, load, lora
from benchmarks.reference.rows import Row, Rows


def make_trainer(
    recipe: Recipe,
    rows: Rows,
    output: Path,
    callbacks: Sequence[TrainerCallback] = (),
    evaluate: bool = False,
) -> Trainer:
    """A trainer that is ready to ``train()``: random order, dynamic padding.

    Args:
        recipe: the settings.
        rows: a single-label task.
        output: the trainer's directory.
        callbacks: told of every step.
        evaluate: macro F1 on the validation rows after every epoch.
    """
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    model = load(AutoModelForSequenceClassification, recipe, "score", num_labels=len(rows.labels))
    model.config.use_cache = False
    model.config.pad_token_id = tokenizer.pad_token_id
    model = get_peft_model(model, lora(recipe, model, TaskType.SEQ_CLS))
    return Trainer(
        model=model,
        args=TrainingArguments(
            eval_strategy="epoch" if evaluate else "no", **arguments(recipe, output)
        ),
        train_dataset=encode(rows.train, rows.labels, tokenizer, recipe.max_length),
        eval_dataset=encode(rows.validation, rows.labels, tokenizer, recipe.max_length),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=macro_f1,
        callbacks=list(callbacks),
    )


def encode(rows: Sequence[Row], labels: Sequence[str], tokenizer: Any, max_length: int) -> Dataset:
    """Columns ``input_ids``, ``attention_mask`` and ``labels`` (an id)."""
    encoded = tokenizer([r.text for r in rows], truncation=True, max_length=max_length)
    return Dataset.from_dict(dict(encoded) | {"labels": [labels.index(r.labels[0]) for r in rows]})


def macro_f1(prediction: EvalPrediction) -> dict[str, float]:
    """Of the likeliest labels."""
    predicted = prediction.predictions.argmax(-1)
    score = f1_score(prediction.label_ids, predicted, average="macro", zero_division=0.0)
    return {"macro_f1": float(score)}
