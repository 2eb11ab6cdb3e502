"""The tokenize step: a corpus's training and validation texts to token ids."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from transformers import AutoTokenizer

from llmclf_core.artifacts import TRAIN, VALIDATION, Corpus, Tokens
from llmclf_core.config import BaseModelConfig, InstructConfig, TokenizeConfig
from llmclf_core.errors import UserError, explain_os_errors
from llmclf_core.files import atomic_directory
from llmclf_core.models.base import Base, context_length, resolve
from llmclf_core.paths import cache_dir, fingerprint
from llmclf_core.tokens.encode import Encoder
from llmclf_core.tokens.instruct import InstructEncoder

log = logging.getLogger(__name__)

AnyEncoder = Encoder | InstructEncoder

_BATCH = 1000
_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "input_ids": datasets.List(datasets.Value("int32")),
        "labels": datasets.List(datasets.Value("int32")),
        "lost": datasets.Value("int64"),
    }
)


def tokenize(
    corpus_path: Path,
    base_config: BaseModelConfig,
    config: TokenizeConfig,
    output: Path,
    instruct: InstructConfig | None = None,
) -> Tokens:
    """Encode the training and validation rows with the base model's tokenizer.

    The result is kept in the cache by content: the same corpus, tokenizer and settings are encoded
    once.

    Args:
        corpus_path: a saved :class:`Corpus`.
        base_config: the base model whose tokenizer is used.
        config: truncation and so on.
        output: directory to write.
        instruct: the prompt that the texts are for; then only the documents are encoded, cut to the
            room that it leaves.

    Raises:
        UserError: for a corpus or base model that cannot be read, a corpus without training or
            validation rows, a prompt that does not fit, or an unwritable output.
    """
    base = resolve(base_config.source, base_config.revision)
    return tokenize_for(corpus_path, base, config, output, instruct)


def tokenize_for(
    corpus_path: Path,
    base: Base,
    config: TokenizeConfig,
    output: Path,
    instruct: InstructConfig | None = None,
) -> Tokens:
    """As :func:`tokenize`, for a base that is found; its tokenizer and ``config.json`` are read."""
    corpus = Corpus.load(corpus_path)
    corpus.check_trainable(corpus_path)
    _check_length(config, base)
    encoder = (
        Encoder(base.directory, config)
        if instruct is None
        else InstructEncoder.of(base.directory, config, instruct, corpus.labels)
    )
    key = fingerprint(corpus.fingerprint, encoder.fingerprint)
    cached = cache_dir() / "tokens" / key
    if not _is_whole(cached):
        _encode(corpus, encoder, key, cached)
    with atomic_directory(output) as draft:
        shutil.copytree(cached, draft, dirs_exist_ok=True, copy_function=_link_or_copy)
    tokens = Tokens.load(output)
    _report(tokens)
    return tokens


def _is_whole(cached: Path) -> bool:
    try:
        Tokens.load(cached)
    except UserError:
        return False  # not there, damaged, or of another schema: encoded again
    return True


def _check_length(config: TokenizeConfig, base: Base) -> None:
    limit = context_length(base)
    if config.max_length > limit:
        raise UserError(
            f"tokenize.max_length is {config.max_length}, but {base.source} takes {limit} tokens"
        )


def _encode(corpus: Corpus, encoder: AnyEncoder, key: str, output: Path) -> None:
    splits, statistics = {}, {}
    place = Path(tempfile.gettempdir())
    with explain_os_errors(place), tempfile.TemporaryDirectory(prefix="llmclf-") as scratch:
        for name in (TRAIN, VALIDATION):
            rows = _encode_split(corpus.splits[name], encoder, Path(scratch) / f"{name}.arrow")
            statistics[name] = _statistics(rows)
            splits[name] = rows.remove_columns("lost")
        tokenizer = Path(scratch) / "tokenizer"
        copy_tokenizer(encoder.directory, tokenizer)
        tokens = Tokens(
            splits=splits,
            labels=corpus.labels,
            recipe=encoder.config.model_dump(),
            corpus=corpus.fingerprint,
            fingerprint=key,
            statistics=statistics,
            tokenizer=tokenizer,
            prompt=encoder.prompt.to_json() if isinstance(encoder, InstructEncoder) else None,
        )
        tokens.save(output)


def _encode_split(rows: datasets.Dataset, encoder: AnyEncoder, scratch: Path) -> datasets.Dataset:
    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = encoder.encode(batch["text"])
        return {"input_ids": [e.ids for e in encoded], "lost": [e.lost for e in encoded]}

    return rows.map(
        encode,
        batched=True,
        batch_size=_BATCH,
        remove_columns=["text"],
        features=_FEATURES,
        cache_file_name=str(scratch),
        new_fingerprint=fingerprint(scratch.name, encoder.fingerprint),
        desc=f"tokenize {scratch.stem}",
    )


def _statistics(rows: datasets.Dataset) -> dict[str, float]:
    lost = np.asarray(rows.with_format("arrow")[:]["lost"])
    lengths = row_lengths(rows)
    return {
        "rows": len(rows),
        "tokens": int(lengths.sum()),
        "longest": int(lengths.max(initial=0)),
        "truncated_rows": int((lost > 0).sum()),
        "lost_tokens": int(lost.sum()),
    }


def row_lengths(rows: datasets.Dataset) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Tokens of each row, int64, (n,); read from the list offsets without loading the ids."""
    column = rows.with_format("arrow")[:]["input_ids"]
    return np.asarray(pc.list_value_length(column), dtype=np.int64)


def copy_tokenizer(source: Path, output: Path) -> None:
    """Copy the tokenizer's own files (no weights, no model configuration)."""
    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(output)


def _link_or_copy(source: str, target: str) -> str:
    """Artifacts are never changed in place, so a hard link is a copy that takes no room."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _report(tokens: Tokens) -> None:
    for name, stats in tokens.statistics.items():
        total = stats["tokens"] + stats["lost_tokens"]
        log.info(
            "%s: %d rows, %d tokens; %d rows truncated, %d tokens lost (%.1f %%)",
            name, stats["rows"], stats["tokens"], stats["truncated_rows"], stats["lost_tokens"],
            100 * stats["lost_tokens"] / max(total, 1),
        )  # fmt: skip
