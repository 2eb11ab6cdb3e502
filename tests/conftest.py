"""Fixtures that every tier shares: a tiny real Llama, a small corpus, and no shared caches."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from unittest import mock

import datasets
import numpy as np
import pytest
import sqlalchemy
import torch

# Fixtures of a wider scope than a test must not touch the user's cache either.
os.environ.setdefault("LLMCLF_CACHE_AT_START", os.environ.get("LLMCLF_CACHE", ""))
os.environ["LLMCLF_CACHE"] = tempfile.mkdtemp(prefix="llmclf-test-cache-")
os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from llmclf_core.artifacts import CORPUS_FEATURES, Corpus
from llmclf_core.labels import LabelSpace

WORDS = {
    "sport": [
        "match",
        "goal",
        "team",
        "player",
        "score",
        "league",
        "cup",
        "coach",
        "win",
        "season",
    ],
    "money": [
        "market",
        "bank",
        "share",
        "profit",
        "price",
        "trade",
        "growth",
        "stock",
        "rate",
        "fund",
    ],
    "music": [
        "song",
        "band",
        "album",
        "tour",
        "singer",
        "guitar",
        "chart",
        "concert",
        "record",
        "stage",
    ],
}
FILLER = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "it",
    "was",
    "for",
    "on",
    "with",
    "as",
    "by",
    "at",
    "from",
    "this",
    "that",
    "were",
    "had",
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Each test has its own cache, and tracking is off unless the test turns it on."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LLMCLF_CACHE", str(cache))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "LLMCLF_PIPELINE_RUN"):
        monkeypatch.delenv(name, raising=False)
    return cache


@pytest.fixture(scope="session", autouse=True)
def copied_stores(tmp_path_factory):
    """MLflow makes its tables once: that takes seconds, and many tests have a store of their own.

    Commands that are processes make theirs as they always do.
    """
    from mlflow.store.db import utils

    make, template = utils._initialize_tables, tmp_path_factory.mktemp("tables") / "mlflow.db"

    def copy(engine):
        if engine.dialect.name != "sqlite" or not engine.url.database:
            return make(engine)
        if not template.exists():
            make(sqlalchemy.create_engine(f"sqlite:///{template}"))
        with (
            contextlib.closing(sqlite3.connect(template)) as source,
            contextlib.closing(sqlite3.connect(engine.url.database)) as target,
        ):
            source.backup(target)

    with mock.patch.object(utils, "_initialize_tables", copy):
        yield


def sentence(label: str, random: np.random.Generator, words: int = 14) -> str:
    """A text that tells its label by about a third of its words."""
    picks = [
        random.choice(WORDS[label] if random.random() < 0.35 else FILLER) for _ in range(words)
    ]
    return " ".join(picks)


def make_corpus(rows_per_label: dict[str, int], task: str = "single", seed: int = 0) -> Corpus:
    """A corpus that a small model can learn; multi-label rows carry one or two labels."""
    random = np.random.default_rng(seed)
    names = sorted(WORDS)
    splits = {}
    for split, n in rows_per_label.items():
        texts, labels = [], []
        for i in range(n * len(names)):
            chosen = {i % len(names)}
            if task == "multi" and random.random() < 0.4:
                chosen.add(int(random.integers(len(names))))
            texts.append(" ".join(sentence(names[c], random) for c in sorted(chosen)))
            labels.append(sorted(chosen))
        splits[split] = datasets.Dataset.from_dict(
            {"id": [f"{split}-{i}" for i in range(len(texts))], "text": texts, "labels": labels},
            features=CORPUS_FEATURES,
        )
    return Corpus(splits, LabelSpace(tuple(names), task), f"test-{task}-{seed}", {"warnings": []})


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "single"
    make_corpus({"train": 24, "validation": 8, "test": 12}).save(path)
    return path


@pytest.fixture(scope="session")
def multi_corpus_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "multi"
    make_corpus({"train": 24, "validation": 8, "test": 12}, task="multi").save(path)
    return path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A Llama of 4 layers with random weights and a byte-level BPE tokenizer; pad is eos."""
    return build_tiny_base(tmp_path_factory.mktemp("base") / "tiny-llama")


def build_tiny_base(path: Path, seed: int = 0) -> Path:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    random = np.random.default_rng(0)
    texts = [sentence(label, random) for label in WORDS for _ in range(50)]
    bpe = ByteLevelBPETokenizer()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=specials)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(path)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=2,
        eos_token_id=2,
        bos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A BERT of 2 layers with random weights and a WordPiece tokenizer."""
    return build_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny-bert")


def build_tiny_encoder(path: Path, seed: int = 0) -> Path:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    random = np.random.default_rng(0)
    texts = [sentence(label, random) for label in WORDS for _ in range(50)]
    wordpiece = BertWordPieceTokenizer()
    letters = [chr(code) for code in range(33, 127)]  # the unknown token would be a special one
    wordpiece.train_from_iterator(texts, vocab_size=400, min_frequency=1, initial_alphabet=letters)
    BertTokenizerFast(tokenizer_object=wordpiece._tokenizer).save_pretrained(path)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=wordpiece.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=160,
        initializer_range=0.1,
    )
    BertForMaskedLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def demo_assets(tmp_path_factory):
    """The demo's assets, from the user's cache or fetched; without either, skipped on a laptop."""
    from llmclf_core.errors import UserError
    from pipelines.assets import fetch

    shared = os.environ.get("LLMCLF_CACHE_AT_START") or str(Path.home() / ".cache" / "llmclf")
    previous = os.environ.get("LLMCLF_CACHE")
    os.environ["LLMCLF_CACHE"] = shared
    try:
        return {name: fetch(name) for name in ("smollm2", "minilm", "bbc")}
    except UserError as error:
        missing_service(f"the demo's model and corpus cannot be fetched: {error}")
    finally:
        os.environ.pop("LLMCLF_CACHE")
        if previous is not None:
            os.environ["LLMCLF_CACHE"] = previous


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip fails the session, whoever asked for it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []  # workers report to another
    if skipped and os.environ.get("CI"):
        reporter.write_line(f"{len(skipped)} skipped: CI must not skip", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def missing_service(what: str) -> None:
    """Skip on a laptop; fail in CI, where nothing may be skipped.

    Args:
        what: what is missing here, and how to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(f"CI must not skip: {what}")
    pytest.skip(f"missing here: {what}")


@pytest.fixture(scope="session")
def converted_cache(tmp_path_factory):
    """A cache that keeps the converted demo model for the whole session."""
    return tmp_path_factory.mktemp("converted")


@pytest.fixture
def smollm2(demo_assets, converted_cache, monkeypatch) -> Path:
    """The demo's GGUF file; converted once a session."""
    monkeypatch.setenv("LLMCLF_CACHE", str(converted_cache))
    return demo_assets["smollm2"] / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def minilm(demo_assets) -> Path:
    """The demo's encoder: a directory."""
    return demo_assets["minilm"]
