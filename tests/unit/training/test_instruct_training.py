"""Training on answers: what the loss is made of, resumption, and what is refused."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from llmclf_core.artifacts import Tokens
from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.errors import UserError
from llmclf_core.models.plain_scoring import answer_losses
from llmclf_core.paths import cache_dir
from llmclf_core.steps.finetune_head import finetune_head
from llmclf_core.steps.finetune_instruct import InstructJob, finetune_instruct
from llmclf_core.tokens.tokenize import tokenize
from llmclf_core.training import loop

SETTINGS = InstructConfig(prompt="{labels}\n{text}", verbalizer="label")
ROWS = np.array([3, 11, 4, 70])


@pytest.fixture(scope="module", params=["single", "multi"])
def tokens_path(request, tmp_path_factory, corpus_path, multi_corpus_path, tiny_base):
    corpus = corpus_path if request.param == "single" else multi_corpus_path
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    config = BaseModelConfig(source=str(tiny_base))
    tokenize(corpus, config, TokenizeConfig(max_length=200), path, SETTINGS)
    return path


def arguments(tokens_path, tiny_base, **options):
    base = {"source": str(tiny_base), "dtype": "float32"} | options.pop("base", {})
    lora = {"rank": 4, "dropout": 0.1} | options.pop("lora", {})
    instruct = options.pop("instruct", SETTINGS)
    training = {"epochs": 1, "batch_size": 12, "learning_rate": 5e-3} | options
    return (
        tokens_path,
        BaseModelConfig(**base),
        LoraConfig(**lora),
        instruct,
        TrainingConfig(**training),
    )


def train(tokens_path, tiny_base, output, seed=0, **options):
    return finetune_instruct(*arguments(tokens_path, tiny_base, **options), output, seed)


def job(tokens_path, tiny_base, **options):
    """A job, its model with an adapter that counts, and its task."""
    made = InstructJob(*arguments(tokens_path, tiny_base, **options), 0)
    torch.manual_seed(0)
    model = made.build()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return made, model.eval(), made.task(model)


def by_hand(made, model, rows, weights):
    """Cross-entropy at each answer token of each row alone, over the whole vocabulary."""
    total = torch.zeros(())
    for i in rows:
        row = made.train_rows[int(i)]
        context = made.encoder.context(row["input_ids"])
        tokens = [(t, weights[n]) for n in row["labels"] for t in made.encoder.answers.labels[n]]
        if made.labels.task == "multi":
            tokens.append((2, 1.0))
        logits = model(input_ids=torch.tensor([[*context, *[t for t, _ in tokens]]])).logits[0]
        for k, (token, weight) in enumerate(tokens):
            p = logits[len(context) + k - 1].softmax(-1)[token]
            total = total - weight * p.log()
    return total


@pytest.mark.parametrize("balanced", [False, True])
def test_loss_is_cross_entropy_of_the_answer_tokens(tokens_path, tiny_base, balanced):
    kind = "balanced" if balanced else "none"
    made, model, task = job(tokens_path, tiny_base, class_weights=kind)
    counts = made.train_truth.sum(0)
    n = len(made.train_truth)
    weights = np.ones(3)
    if balanced:
        weights = n / (3 * counts) if made.labels.task == "single" else (n - counts) / counts
    with torch.no_grad():
        found, expected = task.loss(model, ROWS), by_hand(made, model, ROWS, weights)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-4)


def test_gradient_is_that_of_the_answer_tokens(tokens_path, tiny_base):
    made, model, task = job(tokens_path, tiny_base)
    task.loss(model, ROWS).backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    by_hand(made, model, ROWS, np.ones(3)).backward()
    assert found
    for name, gradient in found.items():
        expected = dict(model.named_parameters())[name].grad
        assert expected.norm() > 0
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)


SHARING = [
    {},
    {"class_weights": "balanced"},
    {"gradient_checkpointing": True},
    {"base": {"quantization": "nf4"}},
    {"lora": {"top_layers": 2}, "frozen_layers": "compute"},
    {"lora": {"top_layers": 2}, "frozen_layers": "cache"},
    {"lora": {"top_layers": 2}, "frozen_layers": "cache", "gradient_checkpointing": True},
]


@pytest.mark.parametrize("options", SHARING, ids=str)
def test_a_prompt_read_once_gives_the_same(tokens_path, tiny_base, options):
    """Two batches of an accumulated gradient, and the validation in between."""
    options = options | {"lora": {"dropout": 0.0} | options.get("lora", {})}
    made, model, task = job(tokens_path, tiny_base, **options)
    assert made.shared is None
    expected = accumulated(model, task)
    with made.shortcut(model) as made.frozen:
        assert made.shared.ids == tuple(made.encoder.prefix)
        assert (made.frozen.lower is not None) == (options.get("frozen_layers") == "cache")
        found = accumulated(model, task)
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    for name, gradient in expected[2].items():
        scale = gradient.abs().max()
        assert scale > 0, name
        assert (found[2][name] - gradient).abs().max() <= 1e-4 * scale, name


def accumulated(model, task):
    """Losses, logits of the validation rows and gradients."""
    model.train()
    model.zero_grad()
    losses = []
    for rows in (ROWS, np.array([20, 55])):
        loss = task.loss(model, rows)
        loss.backward()
        losses.append(float(loss.detach()))
        model.eval()
        _, logits = task.validate()
        model.train()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    return losses, logits, gradients


def test_a_training_reads_the_prompt_once_a_batch(tokens_path, tiny_base, tmp_path, monkeypatch):
    read = []
    plain = InstructJob._loss

    def watched(self, module, rows, weights):
        layer = self.task_model.get_base_model().model.layers[0]
        hook = layer.register_forward_hook(lambda m, args, out: read.append(args[0].shape[:2]))
        loss = plain(self, module, rows, weights)
        hook.remove()
        prefix = len(self.encoder.prefix)
        assert read[-1] == (1, self._lengths()[rows].sum() - (len(rows) - 1) * prefix)
        return loss

    monkeypatch.setattr(InstructJob, "_loss", watched)
    monkeypatch.setattr(InstructJob, "task", remembering(InstructJob.task))
    train(tokens_path, tiny_base, tmp_path / "c")
    assert len(read) == 72 / 12


def remembering(task):
    def remembered(self, model):
        self.task_model = model
        return task(self, model)

    return remembered


def test_only_answer_tokens_are_predicted(tiny_base, tokens_path):
    """Logits that a gradient reaches: one a token of an answer, none at prompt or padding."""
    _, model, _ = job(tokens_path, tiny_base)
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: (output.retain_grad(), seen.append(output))[0]
    )
    contexts, answers = [[5, 6, 7, 8, 9], [5]], [[10, 2], [11, 12, 13, 2]]
    losses = answer_losses(model, contexts, answers, 2)
    losses.sum().backward()
    hook.remove()
    (logits,) = seen
    assert logits.shape[:2] == (2, 4)
    assert (logits.grad.abs().sum(-1) > 0).tolist() == [[True, True, False, False], [True] * 4]
    assert (losses > 0).tolist() == [[True, True, False, False], [True] * 4]


def test_lengths_count_all_that_is_read(tokens_path, tiny_base):
    made, _, task = job(tokens_path, tiny_base)
    for i in ROWS:
        row = made.train_rows[int(i)]
        answer = made.encoder.answers.write(row["labels"])
        assert task.lengths[i] == len(made.encoder.context(row["input_ids"])) + len(answer)


def test_validation_is_the_classifiers_own_answer(tokens_path, tiny_base, tmp_path, corpus_path):
    classifier = train(tokens_path, tiny_base, tmp_path / "c")
    ids = Tokens.load(tokens_path).splits["validation"]["input_ids"]
    made = InstructJob(*arguments(tokens_path, tiny_base), 0)
    assert (made.state / "checkpoint").exists()
    stored = load_file(made.state / "checkpoint" / "tensors.safetensors")["best_logits"]
    again = classifier._answerer.answer(ids, 16).logits
    np.testing.assert_allclose(again, stored.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"accumulation": 3, "gradient_checkpointing": True},
        {"class_weights": "balanced", "metric": "micro_f1"},
        {"base": {"dtype": "bfloat16"}},
        {"base": {"quantization": "nf4"}},
        {"lora": {"rslora": True, "top_layers": 2}},
    ],
    ids=str,
)
def test_options_train(tokens_path, tiny_base, tmp_path, options):
    classifier = train(tokens_path, tiny_base, tmp_path / "c", **options)
    assert np.isfinite(classifier.predict_logits(["match goal", ""])).all()


class Killed(BaseException):
    """Stands for kill -9 inside one process: nothing after it runs."""


@pytest.mark.parametrize(("step", "lora"), [(0, {}), (3, {}), (6, {}), (9, {"top_layers": 2})])
def test_resumed_training_ends_with_the_same_weights(
    tokens_path, tiny_base, tmp_path, monkeypatch, step, lora
):
    options = {"epochs": 2, "checkpoint_seconds": 0, "patience": 0, "lora": lora}
    train(tokens_path, tiny_base, tmp_path / "whole", **options)
    shutil.rmtree(cache_dir() / "training")
    plain = loop.Loop._step

    def killed_at(self, batches):
        if self.progress.step == step:
            raise Killed
        return plain(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_step", killed_at)
        with pytest.raises(Killed):
            train(tokens_path, tiny_base, tmp_path / "broken", **options)
    assert not (tmp_path / "broken").exists()
    train(tokens_path, tiny_base, tmp_path / "broken", **options)
    whole, broken = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("whole", "broken")
    )
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "focal"}, "training.loss: focal"),
        ({"instruct": InstructConfig()}, "made with another prompt, verbalizer or chat template"),
        ({"instruct": SETTINGS.model_copy(update={"verbalizer": "letter"})}, "another prompt"),
        ({"lora": {"targets": ["lm_head"]}}, "no linear layer lm_head"),
    ],
)
def test_settings_that_do_not_fit(tokens_path, tiny_base, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train(tokens_path, tiny_base, tmp_path / "c", **options)


def test_length_normalisation_is_for_one_label(tokens_path, tiny_base, tmp_path):
    settings = SETTINGS.model_copy(update={"length_normalization": True})
    if Tokens.load(tokens_path).labels.task == "single":
        train(tokens_path, tiny_base, tmp_path / "c", instruct=settings)
        return
    with pytest.raises(UserError, match="is for one label a text"):
        train(tokens_path, tiny_base, tmp_path / "c", instruct=settings)


def test_tokens_of_other_approaches(corpus_path, tokens_path, tiny_base, tmp_path):
    config = BaseModelConfig(source=str(tiny_base))
    tokenize(corpus_path, config, TokenizeConfig(), tmp_path / "bare")
    with pytest.raises(UserError, match="bare was not made for instruct"):
        train(tmp_path / "bare", tiny_base, tmp_path / "c")
    with pytest.raises(UserError, match="was made for instruct"):
        finetune_head(
            tokens_path, config, LoraConfig(), HeadConfig(), TrainingConfig(), tmp_path / "c"
        )
