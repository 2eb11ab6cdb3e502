"""Rehearsals in processes of their own, beside a real training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from llmclf_core.artifacts import Tokens
from llmclf_core.config import LoraConfig, TokenizeConfig
from llmclf_core.errors import UserError
from llmclf_core.planning import rehearsal
from llmclf_core.planning.estimate import Layers
from llmclf_core.planning.rehearsal import TooLargeError, estimate, layers_in, row_bytes, tokens_of
from llmclf_core.tokens.encode import load_tokenizer
from llmclf_core.tokens.tokenize import tokenize
from tests.conftest import make_corpus


@pytest.fixture
def deep_base(tiny_base, tmp_path):
    """A Llama of 16 layers; its weights alone take a good 200 MB."""
    config = LlamaConfig(
        vocab_size=len(load_tokenizer(tiny_base)), hidden_size=512, intermediate_size=1536,
        num_hidden_layers=16, num_attention_heads=8, num_key_value_heads=4, pad_token_id=2,
        eos_token_id=2, bos_token_id=1, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "deep")
    load_tokenizer(tiny_base).save_pretrained(tmp_path / "deep")
    return tmp_path / "deep"


def trained(setup, tokens, folder):
    """Cost of the training itself, whole, in a process of its own."""
    order = {"setup": setup.model_dump(), "tokens": str(tokens), "whole": setup.base.source}
    (folder / "order.json").write_text(json.dumps(order))
    program = [sys.executable, "-m", "llmclf_core.steps.rehearse"]
    subprocess.run([*program, str(folder / "order.json"), str(folder / "result.json")], check=True)
    return json.loads((folder / "result.json").read_text())


def test_estimated_peak_is_the_measured_one(deep_base, setup_for, tmp_path):
    make_corpus({"train": 8, "validation": 4, "test": 1}).save(tmp_path / "corpus")
    setup = setup_for("head", epochs=1, memory_check="off")
    base = setup.base.model_copy(update={"source": str(deep_base)})
    setup = setup.model_copy(update={"base": base})
    rules = TokenizeConfig(max_length=24)
    tokens = tokenize(tmp_path / "corpus", base, rules, tmp_path / "tokens")
    planned = estimate(setup, tokens, deep_base, tokens_of(tokens))
    whole = trained(setup, tmp_path / "tokens", tmp_path)
    measured = max(whole["load_memory"], whole["train_memory"])
    assert planned.memory == pytest.approx(measured, rel=0.1)
    assert measured > 0.9e9  # well above what a process takes without a model
    assert (planned.trained, planned.base) == (whole["trained"], whole["base"])
    assert planned.around == pytest.approx(0, abs=1e-9)
    assert planned.gpu == 0
    assert planned.token_seconds > 0


def failing(code, stderr=""):
    return lambda *a, **k: subprocess.CompletedProcess(a, code, stderr=stderr)


@pytest.mark.parametrize(
    ("code", "stderr", "error", "message"),
    [
        (9, "", TooLargeError, "the system ended a rehearsal"),
        (2, "12:00:00 …\nerror: lora.targets: no such\n", UserError, "^lora.targets: no such$"),
        (1, "Traceback …\nKeyError", RuntimeError, "KeyError"),
    ],
)
def test_a_failed_rehearsal(job_for, setup_for, monkeypatch, code, stderr, error, message):
    job = job_for("head")
    monkeypatch.setattr(rehearsal.subprocess, "run", failing(code, stderr))
    with pytest.raises(error, match=message):
        estimate(setup_for("head"), job.tokens, job.base.directory, 1)


def test_what_is_rehearsed_is_the_training_made_small(job_for, setup_for, own_cache, monkeypatch):
    """All that takes memory stays as it is; places and numbers of steps change."""
    job = job_for("head", batch_size=2)
    seen = []

    def look(command, env, **_):
        order = json.loads(Path(command[-2]).read_text())
        assert "MLFLOW_TRACKING_URI" not in env
        assert env["LLMCLF_CACHE"].startswith(str(own_cache))
        rows = Tokens.load(Path(order["tokens"])).splits["train"]
        seen.append((order["setup"], len(rows)))
        return subprocess.CompletedProcess(command, 9, stderr="")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    monkeypatch.setattr(rehearsal.subprocess, "run", look)
    setup = setup_for(
        "head", LoraConfig(rank=4, top_layers=3), batch_size=2, accumulation=6, epochs=9
    )
    with pytest.raises(TooLargeError):
        estimate(setup, job.tokens, job.base.directory, 1)
    ((rehearsed, rows),) = seen
    changed = {"epochs": 2, "accumulation": 2, "patience": 0, "memory_check": "off"}
    assert rehearsed["training"] == setup.training.model_dump() | changed
    assert rehearsed["lora"] == setup.lora.model_dump()
    assert rehearsed["base"].pop("source") != setup.base.source
    assert rehearsed["base"] == setup.base.model_dump(exclude={"source"})
    assert rows == 24
    assert not list(own_cache.glob("rehearsal-*"))


def test_layers_that_train(setup_for):
    assert layers_in(setup_for("head"), 30) == Layers(0, 30)
    assert layers_in(setup_for("head", LoraConfig(top_layers=6)), 30) == Layers(24, 6)
    assert layers_in(setup_for("encoder", None), 6) == Layers(0, 6)
    with pytest.raises(UserError, match="top_layers is 6, but the base model has 4 layers"):
        layers_in(setup_for("head", LoraConfig(top_layers=6)), 4)


def test_rows_that_are_held_in_memory(job_for):
    assert row_bytes("instruct", 1000) == 40_000
    assert row_bytes("head", 1000) == row_bytes("encoder", 1000) == 0
