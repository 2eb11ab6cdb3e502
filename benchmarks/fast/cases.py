"""The figures: what each compares, what it has to be, and at what sizes it is measured."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.fast.statistics import times_faster, times_sooner, times_the_memory
from benchmarks.fast.work import Case, Settings

_OURS = "benchmarks.fast.sides.ours"
_HEAD = "benchmarks.fast.sides.reference_head"
_INSTRUCT = "benchmarks.fast.sides.reference_instruct"

HEAD = Settings(train=160, batch=16, repetitions=9)
"""BBC, 512 tokens, LoRA on all seven projections, 16 rows an optimiser step."""
HEAD_SHORT = replace(HEAD, train=32, validation=4, max_length=128, batch=8, repetitions=2)
HEAD_EMULATED = replace(
    HEAD,
    train=16,
    validation=2,
    max_length=32,
    precision="bf16",
    batch=2,
    ours_batch=2,
    reference_batch=2,
    repetitions=3,
)
"""A step of 64 tokens takes about half a minute where bfloat16 is emulated."""
TAGS = Settings(
    corpus="tags58",
    train=96,
    validation=12,
    document=160,
    max_length=1024,
    prompted=True,
    batch=16,
    repetitions=3,
)
"""The labels take 341 tokens of the prompt, and the longest answer has room."""
BBC = replace(TAGS, corpus="bbc", validation=16, document=450, max_length=512)


def _short(settings: Settings) -> Settings:
    small = {"train": 12, "validation": 4, "batch": 4, "ours_batch": 4, "repetitions": 2}
    return replace(settings, **small, document=min(settings.document or 64, 64))


def _bf16(settings: Settings) -> Settings:
    return replace(settings, precision="bf16")


def _fp32(settings: Settings) -> Settings:
    return replace(settings, precision="fp32")


def _nf4(settings: Settings) -> Settings:
    return replace(settings, precision="nf4")


def _train_head(id_: str, title: str, full: Settings, short: Settings, **more: object) -> Case:
    return Case(
        id=id_,
        title=title,
        unit="× real tokens/s",
        target=2.5,
        ours=f"{_OURS}:train_head",
        reference=f"{_HEAD}:train",
        full=full,
        short=short,
        compare=times_faster,
        **more,  # type: ignore[arg-type]
    )


def _share(id_: str, title: str, full: Settings, short: Settings, **more: object) -> Case:
    return Case(
        id=id_,
        title=title,
        unit="of the matmul ceiling",
        target=0.55,
        ours=f"{_OURS}:train_head_in_operations",
        reference="benchmarks.fast.ceiling:multiply",
        full=full,
        short=short,
        compare=times_faster,
        **more,  # type: ignore[arg-type]
    )


def _instruct(id_: str, title: str, target: float, settings: Settings) -> Case:
    return Case(
        id=id_,
        title=title,
        unit="× documents/s",
        target=target,
        ours=f"{_OURS}:train_instruct",
        reference=f"{_INSTRUCT}:train",
        full=settings,
        short=_short(settings),
        compare=times_faster,
    )


def _predict(id_: str, title: str, target: float, settings: Settings) -> Case:
    return Case(
        id=id_,
        title=title,
        unit="× documents/s",
        target=target,
        ours=f"{_OURS}:predict",
        reference=f"{_INSTRUCT}:predict",
        full=settings,
        short=replace(_short(settings), train=8),
        compare=times_faster,
        predicts=True,
    )


_CACHED = replace(HEAD, train=128, top_layers=10, repetitions=5)
_MEMORY = replace(
    _nf4(HEAD),
    train=16,
    validation=8,
    longest=True,
    batch=8,
    ours_batch=4,
    epochs=1,
    repetitions=3,
)
_SOONER = replace(HEAD, train=96, validation=60, epochs=2, repetitions=3)

CASES = [
    _train_head(
        "head_train_bf16",
        "Head fine-tuning, bf16",
        _bf16(HEAD),
        _bf16(HEAD_SHORT),
        emulated=HEAD_EMULATED,
    ),
    _train_head(
        "head_train_fp32",
        "Head fine-tuning, fp32",
        _fp32(HEAD),
        _fp32(HEAD_SHORT),
        stand_in=True,
    ),
    _train_head("head_train_nf4", "Head fine-tuning, NF4", _nf4(HEAD), _nf4(HEAD_SHORT)),
    Case(
        id="head_time_to_f1",
        title="Head fine-tuning until the reference's last validation F1",
        unit="× sooner",
        target=5.0,
        ours=f"{_OURS}:validations_of_head",
        reference=f"{_HEAD}:validations",
        full=_SOONER,
        short=replace(HEAD_SHORT, validation=24, epochs=2, repetitions=1),
        compare=times_sooner,
        by_turns=False,
    ),
    _share(
        "head_matmul_share",
        "Head fine-tuning beside bf16 matrix products alone",
        _bf16(HEAD),
        _bf16(HEAD_SHORT),
        emulated=HEAD_EMULATED,
    ),
    _share(
        "head_matmul_share_fp32",
        "Head fine-tuning beside fp32 matrix products alone",
        _fp32(HEAD),
        _fp32(HEAD_SHORT),
        stand_in=True,
    ),
    _instruct("instruct_train_tags58", "Instruct fine-tuning, Debian, 58 tags", 6.0, TAGS),
    _instruct("instruct_train_bbc", "Instruct fine-tuning, BBC", 2.5, BBC),
    _predict(
        "instruct_predict_bbc",
        "Instruct prediction, BBC",
        1.5,
        replace(BBC, train=96, validation=48, epochs=1, batch=24),
    ),
    _predict(
        "instruct_predict_tags58",
        "Instruct prediction, Debian, 58 tags",
        8.0,
        replace(TAGS, train=256, validation=48, epochs=1, batch=24, answer_tokens=64),
    ),
    Case(
        id="frozen_layer_cache",
        title="Head fine-tuning, LoRA in the top third, epochs 2…n",
        unit="× real tokens/s",
        target=2.5,
        ours=f"{_OURS}:train_head",
        reference=f"{_HEAD}:train",
        full=_CACHED,
        short=replace(HEAD_SHORT, top_layers=10),
        compare=times_faster,
    ),
    Case(
        id="ingest_tokenize",
        title="Ingest and tokenize beside the tokenizer alone",
        unit="of its tokens/s",
        target=0.7,
        ours=f"{_OURS}:ingest_and_tokenize",
        reference="benchmarks.fast.sides.tokenizer:encode",
        full=Settings(corpus="sentences", train=20_000),
        short=Settings(corpus="sentences", train=500, repetitions=2),
        compare=times_faster,
    ),
    Case(
        id="head_train_memory_nf4",
        title="Head fine-tuning, NF4, peak memory",
        unit="× the memory",
        target=0.7,
        ours=f"{_OURS}:memory_of_head",
        reference=f"{_HEAD}:memory",
        full=_MEMORY,
        short=replace(_MEMORY, train=4, validation=2, max_length=128, batch=4, repetitions=1),
        compare=times_the_memory,
        by_turns=False,
        lower_is_better=True,
    ),
]
