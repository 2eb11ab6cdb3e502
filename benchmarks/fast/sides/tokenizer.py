"""The tokenizer alone."""

from __future__ import annotations

from transformers import AutoTokenizer

from benchmarks.fast.turns import Clock
from benchmarks.fast.work import Record, Work
from benchmarks.reference.rows import Rows


def encode(work: Work, clock: Clock) -> Record:
    """All training and validation texts, which are in memory, in one call; counted in tokens."""
    clock.wait()
    rows = Rows.read(work.rows)
    texts = [row.text for row in (*rows.train, *rows.validation)]
    tokenizer = AutoTokenizer.from_pretrained(work.base).backend_tokenizer
    tokenizer.enable_truncation(work.settings.max_length)
    while True:
        clock.after(sum(len(found.ids) for found in tokenizer.encode_batch(texts)))
