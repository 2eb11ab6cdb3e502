"""Memory that a training will not exceed, by a formula; far more than most need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from llmclf_core.planning.parameters import count
from llmclf_core.planning.rehearsal import row_bytes, tokens_of
from llmclf_core.tokens.batching import PASS_ROWS
from llmclf_core.training.passes import token_limit

_FLOAT = 4
_PROCESS = 1_000_000_000
"""Bytes of the interpreter, the libraries, and what is small."""
_TRAINED = 32
"""Bytes a trained parameter: itself, gradient, two moments, best copy, and a checkpoint's copy of
these as it is written."""
_PAIRS = 64
"""Pairs of text and answer that are scored together."""


@dataclass(frozen=True)
class _Shape:
    hidden: int
    wide: int
    heads: int
    layers: int
    vocabulary: int

    @classmethod
    def of(cls, job: Any) -> _Shape:
        config = AutoConfig.from_pretrained(job.base.directory, trust_remote_code=False)
        text = config.get_text_config(decoder=True)
        return cls(
            text.hidden_size,
            getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            text.num_attention_heads,
            text.num_hidden_layers,
            text.vocab_size,
        )


def bound(job: Any) -> int:
    """Bytes that a training will not exceed.

    Args:
        job: a :class:`llmclf_core.steps.neural.NeuralJob`.
    """
    shape, length = _Shape.of(job), int(job.tokens.recipe["max_length"])
    trained, base = count(job, job.base.directory)
    # What is loaded, and the file that it is loaded from.
    weights = 2 * job.dtype.itemsize * base + 2 * _FLOAT * trained
    # Embeddings of all rows are there several times when a head is fitted on them.
    rows = row_bytes(job.approach, tokens_of(job.tokens))
    rows += 8 * _FLOAT * shape.hidden * len(job.train_truth)
    passes = _activations(shape, _tokens(job, length), length) + _logits(job, shape, length)
    return int(_PROCESS + weights + _TRAINED * trained + rows + passes)


def _tokens(job: Any, length: int) -> int:
    """In a training pass, at most."""
    prefix = len(job.encoder.prefix) if job.approach == "instruct" else 0
    limit = token_limit(job.training, prefix, job.dtype.itemsize)
    whole = int(job.training.batch_size) * length
    return whole if limit is None else max(length, min(limit, whole * job.training.accumulation))


def _activations(shape: _Shape, tokens: int, length: int) -> int:
    """Of a training pass through all layers; of one without gradients the keys and values, and one
    layer.

    A layer keeps the inputs of its norms and linear layers, these again behind the adapter's
    dropout, and attention's scores; as much again for gradients and what comes and goes.
    """
    a_token = 2 * _FLOAT * (17 * shape.hidden + 6 * shape.wide + 3 * shape.heads * length)
    cached = 2 * _FLOAT * shape.hidden * PASS_ROWS * length * shape.layers
    return a_token * (tokens * shape.layers + PASS_ROWS * length) + cached


def _logits(job: Any, shape: _Shape, length: int) -> int:
    """Scores of the whole vocabulary, their float32 copy, their gradient and that of the copy."""
    if job.approach != "instruct":
        return 0
    answers = job.encoder.answers
    scored = _PAIRS * max(len(ids) for ids in answers.options)
    rows = job.training.batch_size * job.training.accumulation  # a pass may read a whole step's
    places = max(rows * min(answers.longest, length), scored)
    return 4 * _FLOAT * shape.vocabulary * int(places)
