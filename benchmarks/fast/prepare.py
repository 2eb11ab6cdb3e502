"""The rows of a case, made once, in all the forms that the two sides want."""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset

from benchmarks.fast.configs import (
    base_config,
    bbc_config,
    instruct_config,
    sentences_config,
    tags_config,
    tokenize_config,
)
from benchmarks.fast.turns import Worker
from benchmarks.fast.work import Case, Settings, Work
from llmclf_core.artifacts import TRAIN, VALIDATION, Corpus, Tokens
from llmclf_core.corpus import ingest
from llmclf_core.files import atomic_directory, write_json
from llmclf_core.paths import fingerprint
from llmclf_core.tokens.encode import load_tokenizer
from llmclf_core.tokens.prompt import Prompt
from llmclf_core.tokens.tokenize import tokenize
from pipelines.assets import fetch

_OF_ROWS = ("corpus", "train", "validation", "longest", "document", "max_length", "prompted")
_SEED = 0
_WORDS = 300
"""Words of a made text, at least."""


def prepare(case: Case, settings: Settings, root: Path, base: Path, scratch: Path) -> Work:
    """Make what is not there yet.

    Args:
        case: whose work it is.
        settings: its size.
        root: where prepared rows are kept.
        base: directory of the base model.
        scratch: an empty directory.

    Raises:
        UserError: when texts cannot be fetched.
    """
    known = asdict(settings)
    key = fingerprint(str(base), {name: known[name] for name in _OF_ROWS})
    work = Work(settings, base, root / f"{settings.corpus}-{key}", scratch)
    if not work.place.exists():
        write_work(_corpus(work), work)
    if case.predicts and not work.classifier.exists():
        with Worker("benchmarks.fast.sides.ours:make_classifier", work) as worker:
            worker.finish()
    return work


def _corpus(work: Work) -> Corpus:
    """The whole corpus, from which rows are chosen."""
    name = work.settings.corpus
    place = work.place.parent / "corpora" / (work.source.stem if name == "sentences" else name)
    if place.exists():
        return Corpus.load(place)
    if name == "bbc":
        return ingest(bbc_config(fetch("bbc")), place)
    if name == "tags58":
        return ingest(tags_config(fetch("debian-tags") / "tags58.jsonl"), place)
    _write_sentences(work)
    return ingest(sentences_config(work.source), place)


def _write_sentences(work: Work) -> None:
    """As many texts as are wanted, each of sentences drawn from all of BBC."""
    found = [
        sentence
        for path in sorted(fetch("bbc").glob("*/*.txt"))
        for sentence in re.split(r"(?<=[.!?])\s+", path.read_text("utf-8", errors="replace"))
    ]
    chance = random.Random(_SEED)
    work.source.parent.mkdir(parents=True, exist_ok=True)
    with work.source.open("w", encoding="utf-8") as out:
        for i in range(work.settings.train):
            row = {"id": f"t{i}", "text": _text(found, chance), "label": f"label {i % 5}"}
            out.write(json.dumps(row) + "\n")


def _text(sentences: list[str], chance: random.Random) -> str:
    chosen: list[str] = []
    while sum(len(sentence.split()) for sentence in chosen) < _WORDS:
        chosen.append(chance.choice(sentences))
    return " ".join(chosen)


def write_work(corpus: Corpus, work: Work) -> None:
    """Choose rows, cut them, and write them for both sides.

    Args:
        corpus: to choose from.
        work: settings, base and place.
    """
    settings = work.settings
    chosen = _chosen(corpus, work)
    with atomic_directory(work.place) as draft:
        chosen.save(draft / "corpus")
        write_json(draft / work.rows.name, _as_json(chosen))
        tokens = tokenize(
            draft / "corpus",
            base_config(settings, work.base),
            tokenize_config(settings),
            draft / work.tokens.name,
            instruct_config() if settings.prompted else None,
        )
        if settings.prompted:
            (draft / work.prompt.name).write_text(_prompt(tokens), "utf-8")


def _chosen(corpus: Corpus, work: Work) -> Corpus:
    settings, tokenizer = work.settings, load_tokenizer(work.base)

    def cut(row: dict[str, str]) -> dict[str, str]:
        found = tokenizer(row["text"], return_offsets_mapping=True, add_special_tokens=False)
        ends = [end for _, end in found["offset_mapping"][: settings.document]]
        return {"text": row["text"][: ends[-1]].rstrip()}

    splits = {name: corpus.splits[name] for name in (TRAIN, VALIDATION)}
    if settings.corpus != "sentences":
        splits[TRAIN] = _rows(splits[TRAIN], settings.train, settings.longest)
        splits[VALIDATION] = _rows(splits[VALIDATION], settings.validation, settings.longest)
    if settings.document is not None:
        splits = {name: split.map(cut, keep_in_memory=True) for name, split in splits.items()}
    key = fingerprint(corpus.fingerprint, work.place.name)
    return Corpus(splits, corpus.labels, key, corpus.report)


def _rows(split: Dataset, wanted: int, longest: bool) -> Dataset:
    if longest:
        lengths = [len(text) for text in split["text"]]
        order = sorted(range(len(split)), key=lambda i: -lengths[i])
        return split.select(order[:wanted])
    return split.shuffle(seed=_SEED, keep_in_memory=True).select(range(wanted))


def _as_json(corpus: Corpus) -> dict[str, object]:
    names = corpus.labels.decode
    splits = {
        name: [{"text": r["text"], "labels": names(r["labels"])} for r in corpus.splits[name]]
        for name in (TRAIN, VALIDATION)
    }
    return {"labels": list(corpus.labels.names)} | splits


def _prompt(tokens: Tokens) -> str:
    prompt = Prompt.from_json(tokens.prompt or {})
    before, after = ("".join(text for text, _ in p) for p in (prompt.before, prompt.after))
    return f"{before}{{text}}{after}"
