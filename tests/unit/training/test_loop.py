"""The loop on the tiny model: what changes, what must not, resumption, several processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from llmclf_core.artifacts import Corpus
from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    TokenizeConfig,
    TrainingConfig,
)
from llmclf_core.errors import UserError
from llmclf_core.paths import cache_dir
from llmclf_core.steps.finetune_head import finetune_head
from llmclf_core.tokens.tokenize import tokenize
from llmclf_core.training import loop

WORKER = Path(__file__).with_name("train_worker.py")


@pytest.fixture(scope="module")
def tokens_path(tmp_path_factory, corpus_path, tiny_base):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    tokenize(corpus_path, BaseModelConfig(source=str(tiny_base)), TokenizeConfig(), path)
    return path


def train(tokens_path, tiny_base, output, **options):
    base = {"source": str(tiny_base), "dtype": "float32"} | options.pop("base", {})
    lora = {"rank": 4, "dropout": 0.1} | options.pop("lora", {})
    head = options.pop("head", {})
    seed = options.pop("seed", 0)
    training = {"epochs": 2, "learning_rate": 5e-3} | options
    return finetune_head(
        tokens_path,
        BaseModelConfig(**base),
        LoraConfig(**lora),
        HeadConfig(**head),
        TrainingConfig(**training),
        output,
        seed,
    )


def forget_finished_trainings():
    """Else the same settings get the finished training, and nothing is compared."""
    shutil.rmtree(cache_dir() / "training")


def weights(path):
    found = load_file(path / "adapter" / "adapter_model.safetensors")
    head = path / "head.safetensors"
    return found | load_file(head) if head.exists() else found


def assert_equal_weights(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def assert_near_weights(a, b):
    """By norm: Adam turns the rounding of a gradient that is nearly zero into a full step."""
    a, b = weights(a), weights(b)
    for name in a:
        assert (a[name] - b[name]).norm() <= 2e-3 * b[name].norm(), name


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_adapter_and_head_change_and_the_base_does_not(
    tokens_path, tiny_base, tmp_path, monkeypatch, quantization
):
    before = {}
    run = loop.Loop.run

    def remember(self):
        before.update({n: p.detach().clone() for n, p in self.task.model.named_parameters()})
        return run(self)

    monkeypatch.setattr(loop.Loop, "run", remember)
    classifier = train(
        tokens_path, tiny_base, tmp_path / "c", base={"quantization": quantization}, patience=0
    )
    after = dict(classifier.model.named_parameters())
    frozen = [n for n in after if "lora_" not in n and not n.startswith("head.")]
    trained = [n for n in after if n not in frozen]
    assert frozen
    assert all(torch.equal(before[n], after[n]) for n in frozen)
    # lora_A of a layer may stay nearly still while lora_B is near zero, but not bit for bit.
    unchanged = [n for n in trained if torch.equal(before[n], after[n])]
    assert not unchanged


@pytest.mark.parametrize(
    "options",
    [
        {"lora": {"rslora": True, "top_layers": 2}},
        {"lora": {"targets": ["q_proj", "v_proj"]}},
        {"head": {"pooling": "mean", "init": "frozen"}},
        {"head": {"pooling": "attention", "layers": 2, "dropout": 0.1}},
        {"accumulation": 3, "gradient_checkpointing": True, "schedule": "linear"},
        {"loss": "focal", "class_weights": "balanced", "metric": "micro_f1"},
        {"evaluations_per_epoch": 3, "patience": 1, "schedule": "constant"},
        {"base": {"dtype": "bfloat16"}},
    ],
    ids=str,
)
def test_options_train(tokens_path, tiny_base, tmp_path, options):
    classifier = train(tokens_path, tiny_base, tmp_path / "c", **options)
    logits = classifier.predict_logits(["match goal", "bank share"])
    assert np.isfinite(logits).all()


def test_learns(corpus_path, tokens_path, tiny_base, tmp_path):
    """Its own rows: what random weights make of others is luck, and differs from seed to seed."""
    classifier = train(tokens_path, tiny_base, tmp_path / "c", epochs=24, patience=0)
    seen = Corpus.load(corpus_path).splits["train"]
    truth = [classifier.labels.decode(ids) for ids in seen["labels"]]
    right = [a == b for a, b in zip(classifier.predict(seen["text"]), truth, strict=True)]
    assert np.mean(right) > 0.8  # 0.89 to 1 by seed and rounding; chance is a third


def test_same_seed_same_weights_other_seed_other_weights(tokens_path, tiny_base, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tokens_path, tiny_base, tmp_path / name, seed=seed)
        forget_finished_trainings()
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "a", tmp_path / "c")


def test_accumulated_batches_give_the_gradient_of_one_big_batch(tokens_path, tiny_base, tmp_path):
    """Batches are drawn alike in both, so only the order of summation differs."""
    common = {"lora": {"dropout": 0.0}, "patience": 0, "epochs": 1}
    train(tokens_path, tiny_base, tmp_path / "big", batch_size=72, **common)
    train(tokens_path, tiny_base, tmp_path / "small", batch_size=8, accumulation=9, **common)
    assert_near_weights(tmp_path / "big", tmp_path / "small")


class Killed(BaseException):
    """Stands for kill -9 inside one process: nothing after it runs."""


@pytest.mark.parametrize("step", [0, 1, 7, 9, 13, 17])
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["every-step", "never-but-start"])
def test_resumed_training_ends_with_the_same_weights(
    tokens_path, tiny_base, tmp_path, monkeypatch, step, seconds
):
    options = {"head": {"pooling": "mean", "init": "frozen"}, "patience": 0}
    train(tokens_path, tiny_base, tmp_path / "whole", **options)
    forget_finished_trainings()
    killed_and_resumed(tokens_path, tiny_base, tmp_path, monkeypatch, step, seconds, options)


def test_resumed_training_with_an_eight_bit_optimizer(
    tokens_path, tiny_base, tmp_path, monkeypatch
):
    # Rank 64: smaller matrices would keep their state in 32 bits.
    options = {"optimizer": "adamw_8bit", "lora": {"rank": 64}, "patience": 0}
    train(tokens_path, tiny_base, tmp_path / "whole", **options)
    forget_finished_trainings()
    killed_and_resumed(tokens_path, tiny_base, tmp_path, monkeypatch, 13, 0.0, options)


def killed_and_resumed(tokens_path, tiny_base, tmp_path, monkeypatch, step, seconds, options):
    """Train into "broken", killed at a step, and compare with "whole"."""
    plain = loop.Loop._step

    def killed_at(self, batches):
        if self.progress.step == step:
            raise Killed
        return plain(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_step", killed_at)
        with pytest.raises(Killed):
            train(
                tokens_path, tiny_base, tmp_path / "broken", checkpoint_seconds=seconds, **options
            )
    assert not (tmp_path / "broken").exists()
    train(tokens_path, tiny_base, tmp_path / "broken", checkpoint_seconds=seconds, **options)
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken")


def test_checkpoint_that_a_kill_left_aside_is_used(
    tokens_path, tiny_base, tmp_path, monkeypatch, own_cache
):
    """As it lies after a kill between the two renames of a replacement."""
    train(tokens_path, tiny_base, tmp_path / "first")
    (checkpoint,) = (own_cache / "training").glob("*/checkpoint")
    checkpoint.rename(checkpoint.with_name(".checkpoint.0123abcd.old"))

    def step(self, batches):
        raise AssertionError("started over")

    monkeypatch.setattr(loop.Loop, "_step", step)
    train(tokens_path, tiny_base, tmp_path / "second")
    assert_equal_weights(tmp_path / "first", tmp_path / "second")


def test_finished_training_is_there_at_once(tokens_path, tiny_base, tmp_path, monkeypatch):
    options = {"head": {"pooling": "mean", "init": "frozen"}}
    train(tokens_path, tiny_base, tmp_path / "first", **options)

    def step(self, batches):
        raise AssertionError("trained again")

    monkeypatch.setattr(loop.Loop, "_step", step)
    train(tokens_path, tiny_base, tmp_path / "second", **options)
    assert_equal_weights(tmp_path / "first", tmp_path / "second")


def test_finished_training_of_long_ago_is_dropped(tokens_path, tiny_base, tmp_path, own_cache):
    train(tokens_path, tiny_base, tmp_path / "a", seed=0)
    (old,) = (own_cache / "training").glob("*/")
    os.utime(old, (0, 0))
    train(tokens_path, tiny_base, tmp_path / "b", seed=1)
    assert not old.exists()
    assert len(list((own_cache / "training").glob("*/"))) == 1


def test_damaged_checkpoint_says_so(tokens_path, tiny_base, tmp_path, monkeypatch, own_cache):
    def killed(self, batches):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_step", killed)
        with pytest.raises(Killed):
            train(tokens_path, tiny_base, tmp_path / "c")
    tensors = next((own_cache / "training").glob("*/checkpoint/tensors.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"checkpoint .* is damaged .*; delete it to start over"):
        train(tokens_path, tiny_base, tmp_path / "c")


def test_best_checkpoint_is_kept_and_training_stops_early(
    tokens_path, tiny_base, tmp_path, monkeypatch
):
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.99])
    kept = {}

    def validate(logits, truth, labels):
        return {"macro_f1": next(scores), "micro_f1": 0.0, "loss": 0.0}

    evaluate = loop.Loop._evaluate

    def remember(self):
        evaluate(self)
        step = self.progress.step
        kept[step] = {
            n: t.clone() for n, t in loop.copy_of(loop.trainable(self.task.model)).items()
        }

    monkeypatch.setattr("llmclf_core.steps.scored.validation_metrics", validate)
    monkeypatch.setattr(loop.Loop, "_evaluate", remember)
    classifier = train(tokens_path, tiny_base, tmp_path / "c", epochs=9, patience=2)
    assert sorted(kept) == [9, 18, 27, 36]  # 0.8 and 0.7 were two stale validations
    for name, parameter in loop.trainable(classifier.model).items():
        assert torch.equal(parameter.detach().cpu(), kept[18][name].cpu())


def test_equal_metrics_are_told_apart_by_the_loss(tokens_path, tiny_base, tmp_path, monkeypatch):
    losses = iter([0.4, 0.3, 0.35])

    def validate(logits, truth, labels):
        return {"macro_f1": 0.9, "micro_f1": 0.9, "loss": next(losses)}

    monkeypatch.setattr("llmclf_core.steps.scored.validation_metrics", validate)
    stopped = []
    run = loop.Loop.run

    def remember(self):
        result = run(self)
        stopped.append(self.progress)
        return result

    monkeypatch.setattr(loop.Loop, "run", remember)
    train(tokens_path, tiny_base, tmp_path / "c", epochs=3, patience=0)
    assert stopped[0].best_step == 18


def test_loss_that_is_not_finite(tokens_path, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "llmclf_core.steps.scored.row_losses",
        lambda logits, *_: logits.sum(1) * torch.nan,
    )
    with pytest.raises(UserError, match=r"training loss became nan at step 1; lower training"):
        train(tokens_path, tiny_base, tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora": {"targets": ["nothing"]}}, "no linear layer nothing; it has down_proj"),
        ({"lora": {"top_layers": 5}}, "top_layers is 5, but the base model has 4 layers"),
    ],
)
def test_settings_that_do_not_fit_the_base(tokens_path, tiny_base, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train(tokens_path, tiny_base, tmp_path / "c", **options)


def test_unwritable_output_loses_no_training(tokens_path, tiny_base, tmp_path, own_cache):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot write"):
        train(tokens_path, tiny_base, blocked / "c")
    assert list((own_cache / "training").glob("*/checkpoint/tensors.safetensors"))
    train(tokens_path, tiny_base, tmp_path / "c")


def launch(processes, arguments, cache):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launcher, "--standalone", str(WORKER)]
    environment = os.environ | {
        "LLMCLF_CACHE": str(cache), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"
    }  # fmt: skip
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_passes_of_any_size_give_the_same_training(tokens_path, tiny_base, tmp_path, monkeypatch):
    sizes = []

    def seen(*arguments, dealt=loop.passes):
        found = dealt(*arguments)
        sizes[-1] += len(found)
        return found

    monkeypatch.setattr(loop, "passes", seen)
    options = {"epochs": 1, "lora": {"dropout": 0.0}, "accumulation": 2}
    for tokens in (1, 100, 10_000):
        sizes.append(0)
        train(tokens_path, tiny_base, tmp_path / str(tokens), **options, pass_tokens=tokens)
        forget_finished_trainings()
    assert sizes[0] == 72 > sizes[1] > sizes[2] == 5  # rows, and steps of at most 16 rows
    assert_near_weights(tmp_path / "1", tmp_path / "10000")
    assert_near_weights(tmp_path / "100", tmp_path / "10000")


@pytest.mark.parametrize("approach", ["head", "instruct"])
def test_two_processes_train_as_one_does(approach, corpus_path, tiny_base, tmp_path):
    """Two processes of batch 5 see the same ten rows a step as one with two batches of 5; no rows
    of the last step's two are left for the second one."""
    base = BaseModelConfig(source=str(tiny_base))
    prompt = InstructConfig(prompt="{labels}\n{text}") if approach == "instruct" else None
    tokens = tmp_path / "tokens"
    tokenize(corpus_path, base, TokenizeConfig(max_length=200), tokens, prompt)
    launch(1, [approach, tokens, tiny_base, tmp_path / "one", 2], tmp_path / "cache1")
    launch(2, [approach, tokens, tiny_base, tmp_path / "two", 1], tmp_path / "cache2")
    assert_near_weights(tmp_path / "one", tmp_path / "two")
