"""The reference recipe trains what it says, and does the same work as the product."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, TrainerCallback

from benchmarks.reference.generate import Generator, match
from benchmarks.reference.head import make_trainer as head_trainer
from benchmarks.reference.instruct import examples
from benchmarks.reference.instruct import make_trainer as instruct_trainer
from benchmarks.reference.rows import Row, Rows
from llmclf_core.config import BaseModelConfig, HeadConfig, LoraConfig, TrainingConfig
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.tokens.batching import pad
from llmclf_core.training.losses import row_losses

PRECISIONS = [("fp32", "float32"), ("bf16", "bfloat16"), ("nf4", "float32")]


class Seen(TrainerCallback):
    def __init__(self):
        self.tokens = []

    def on_step_end(self, args, state, control, **more):
        self.tokens.append(state.num_input_tokens_seen)


def parameters(model):
    return {name: copy.deepcopy(p.detach()) for name, p in model.named_parameters()}


def check_one_step(trainer, trains):
    before = parameters(trainer.model)
    trainer.train()
    changed = {
        name for name, p in parameters(trainer.model).items() if not torch.equal(p, before[name])
    }
    assert changed
    assert all(any(part in name for part in trains) for name in changed)
    # A fresh adapter's first factor gets no gradient, for the second one is zero.
    assert {n for n in before if "lora_B" in n} <= changed


@pytest.mark.parametrize(("precision", "dtype"), PRECISIONS)
def test_a_head_step_changes_adapter_and_head_alone(recipe, rows, tmp_path, precision, dtype):
    seen = Seen()
    recipe = replace(recipe, precision=precision, dtype=dtype)
    trainer = head_trainer(recipe, rows, tmp_path, [seen])
    check_one_step(trainer, ("lora_", "score.modules_to_save"))
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    assert seen.tokens == [sum(len(tokenizer(row.text).input_ids) for row in rows.train)]
    quantised = {type(m).__name__ for m in trainer.model.modules()}
    assert ("Linear4bit" in quantised) == (precision == "nf4")


@pytest.mark.parametrize(("precision", "dtype"), PRECISIONS)
def test_an_instruct_step_changes_the_adapter_alone(recipe, rows, tmp_path, precision, dtype):
    recipe = replace(recipe, precision=precision, dtype=dtype, max_length=256)
    check_one_step(instruct_trainer(recipe, rows, tmp_path), ("lora_",))


def test_only_the_top_layers_get_an_adapter(recipe, rows, tmp_path):
    model = head_trainer(replace(recipe, top_layers=1), rows, tmp_path).model
    adapted = {n.split(".layers.")[1][0] for n, _ in model.named_parameters() if "lora_A" in n}
    assert adapted == {"3"}


def test_the_head_is_validated_after_every_epoch(recipe, rows, tmp_path):
    trainer = head_trainer(replace(recipe, epochs=2), rows, tmp_path, evaluate=True)
    trainer.train()
    found = [e["eval_macro_f1"] for e in trainer.state.log_history if "eval_macro_f1" in e]
    assert len(found) == 2


def test_the_instruct_loss_is_on_the_answer_and_its_end_alone(recipe, rows, tmp_path):
    trainer = instruct_trainer(replace(recipe, max_length=256), rows, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    batch = next(iter(trainer.get_train_dataloader()))
    for ids, wanted in zip(batch["input_ids"], batch["labels"], strict=True):
        learnt = tokenizer.decode(ids[wanted != -100])
        assert learnt in {f" {label}<|im_end|>" for label in rows.labels}


def test_all_labels_stand_in_the_prompt_and_a_set_in_the_answer():
    rows = Rows(["a", "b", "c"], [Row("some {labels}", ["a", "c"])], [])
    assert examples(rows)[0] == {
        "prompt": "Classify the text into a, b, c and return the answer as the exact text label.\n"
        "text: some {labels}\nlabel:",
        "completion": " a, c",
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" sport", ["sport"]),
        ("music\nsport\n", ["music", "sport"]),
        ("sport, music", ["music", "sport"]),
        ("It is about sport.", ["sport"]),
        ("weather", []),
    ],
)
def test_answers_are_matched_to_labels(answer, expected):
    assert match(answer, ["music", "sport"]) == expected


def greedy(model, tokenizer, text, steps):
    ids = tokenizer(text, return_tensors="pt").input_ids
    begun = ids.shape[1]
    for _ in range(steps):
        following = model(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, following], 1)
        if following.item() == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[0, begun:], skip_special_tokens=True)


def test_generation_is_greedy_and_has_the_trained_adapter(recipe, rows, tmp_path):
    model = instruct_trainer(recipe, rows, tmp_path).model.eval()
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    prompt = "text: {text}\nlabel:"
    asked = prompt.replace("{text}", "the team")
    with torch.no_grad():
        untrained = greedy(model, tokenizer, asked, 8)
        for parameter in randomised(model):
            parameter.normal_(std=0.5)
        expected = greedy(model, tokenizer, asked, 8)
    model.save_pretrained(str(tmp_path / "adapter"))
    generator = Generator(recipe, tmp_path / "adapter", prompt, rows.labels, 8)
    assert generator.answer("the team") == expected != untrained
    assert generator.predict("the team") == match(expected, rows.labels)


def randomised(model):
    """The factors that are zero at first."""
    return [p for name, p in model.named_parameters() if "lora_B" in name]


def ours_with_the_weights_of(model, recipe, n_labels):
    """The product's model of the same settings, and the reference's adapter and head in it."""
    base = resolve(str(recipe.base))
    config = BaseModelConfig(source=str(recipe.base))
    backbone = load_backbone(base, config, torch.float32)
    head = ClassificationHead(backbone.config.hidden_size, n_labels, HeadConfig())
    lora = LoraConfig(rank=recipe.rank, alpha=recipe.alpha, dropout=0.0)
    ours = HeadModel(add_adapter(backbone, lora, base.source), head)
    mine = dict(ours.backbone.named_parameters())
    theirs = dict(model.named_parameters())
    names = [name for name in mine if "lora_" in name]
    assert len(names) == sum("lora_" in name for name in theirs) > 0
    with torch.no_grad():
        for name in names:
            mine[name].copy_(theirs[name.replace("base_model.model.", "base_model.model.model.")])
    (score,) = (p for n, p in theirs.items() if "score.modules_to_save" in n)
    head.fill(score.detach().numpy(), np.zeros(n_labels, dtype=np.float32))
    return ours


def test_both_sides_have_the_same_loss_on_the_same_batch(recipe, rows, tmp_path):
    trainer = head_trainer(recipe, rows, tmp_path)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in randomised(trainer.model):
            parameter.normal_(std=0.1)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows.train))])
    assert (batch["attention_mask"] == 0).any()  # padded
    trainer.model.eval()
    theirs = trainer.model(**batch).loss
    ours = ours_with_the_weights_of(trainer.model, recipe, len(rows.labels)).eval()
    ids, mask = pad(trainer.train_dataset["input_ids"], 2, torch.device("cpu"))
    space = LabelSpace(tuple(rows.labels), "single")
    truth = space.indicators([space.encode(row.labels) for row in rows.train])
    logits = ours(ids, mask)
    loss = row_losses(
        logits, torch.from_numpy(truth).float(), "single", TrainingConfig(), None
    ).mean()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-4)
    theirs.backward()
    loss.backward()
    mine = {n: p.grad for n, p in ours.backbone.named_parameters() if p.grad is not None}
    for name, parameter in trainer.model.named_parameters():
        if "lora_" in name:
            own = mine[name.replace("base_model.model.model.", "base_model.model.")]
            torch.testing.assert_close(own, parameter.grad, rtol=1e-3, atol=1e-6)
