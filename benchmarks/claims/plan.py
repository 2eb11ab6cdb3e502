"""The studies, from the most to the least worth: sizes and settings that two CPU cores can bear."""

from __future__ import annotations

from typing import Any

from benchmarks.claims.corpora import CORPORA
from benchmarks.claims.study import Study, Variant

SEEDS = [0, 1, 2]
TOP = {"rank": 16, "alpha": 32, "top_layers": 6}
"""0.98 M trained parameters: the backward pass ends at the sixth layer from the top."""
WIDE = {"rslora": True, "alpha": 8, "top_layers": None}
"""All 30 layers; alpha / sqrt(rank) is 2 at rank 16, as in :data:`TOP`."""
LARGE_RANK = 328
"""305,280 parameters a rank (seven projections, 30 layers): 100.1 M."""
FAST = {"learning_rate": 5e-4, "head_learning_rate": 3e-3}


def _recipe(
    ingest: dict[str, Any],
    prompt: str,
    epochs: tuple[int, int, int],
    prompted: int,
    seeds: list[int] = SEEDS,
    weights: str = "none",
    **more: Any,
) -> dict[str, Any]:
    """All approaches; they differ in what they are, and in what each needs to learn at this size.

    Args:
        ingest: section of that name.
        prompt: of instruct.
        epochs: of head, instruct and encoder.
        prompted: tokens of prompt, document and answer.
        seeds: of the trainings.
        weights: of the classes, for head and encoder.
        **more: further sections.
    """
    head, instruct, encoder = epochs
    return {
        "ingest": ingest,
        "seeds": seeds,
        "base": {"source": "${LLMCLF_CACHE}/assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
        "tokenize": {"max_length": 64},
        "lora": TOP,
        "head": {"pooling": "mean"},
        "training": {"epochs": head, "class_weights": weights} | FAST,
        "instruct": {
            "prompt": prompt,
            "system": "",
            "tokenize": {"max_length": prompted},
            "training": {"epochs": instruct, "learning_rate": 1e-3, "class_weights": "none"},
        },
        "encoder": {
            "base": {"source": "${LLMCLF_CACHE}/assets/minilm"},
            "tokenize": {"max_length": 64},
            "training": {"epochs": encoder, "learning_rate": 2e-4, "class_weights": weights},
        },
    } | more


def _bbc(rows: int) -> dict[str, Any]:
    return {
        "source": "${LLMCLF_CACHE}/assets/bbc",
        "format": "folder",
        "bad_bytes": "replace",
        "split": {"validation": 0.05, "test": 0.2, "train_rows_per_label": rows},
    }


def _r8() -> dict[str, Any]:
    source = {s: f"{CORPORA}/r8/{s}.csv" for s in ("train", "validation", "test")}
    return {"source": source, "id": "id"}


def _tags(name: str) -> dict[str, Any]:
    return {
        "source": f"{CORPORA}/{name}/rows.jsonl",
        "id": "id",
        "labels": {"columns": ["labels"], "layout": "list", "task": "multi"},
        "split": {"validation": 0.1, "test": 0.25},
    }


TOPIC = "{text}\n\nTopic ({labels}):"
TAGS = "{text}\n\nTags of this package, from {labels}:"

BBC16 = _recipe(_bbc(16), TOPIC, (4, 4, 8), 104)
BBC64 = _recipe(_bbc(64), TOPIC, (2, 2, 4), 104)
BBC256 = _recipe(_bbc(256), TOPIC, (1, 1, 2), 104, seeds=[0])
R8 = _recipe(_r8(), TOPIC, (2, 2, 4), 112)
TAGS14 = _recipe(_tags("tags14"), TAGS, (2, 1, 6), 192, seeds=[0], weights="balanced")
TAGS14["instruct"] |= {"lora": WIDE | {"rank": 16}, "search_steps": 16}
TAGS58 = _recipe(_tags("tags58"), TAGS, (2, 1, 6), 448, seeds=[0], weights="balanced") | {
    # Instruct scores 58 labels at every step of its search: hours on two cores.
    "approaches": ["tfidf", "probe", "encoder", "head"]
}


def _variant(recipe: dict[str, Any], approach: str, **settings: Any) -> dict[str, Any]:
    """Only that approach, first seed, some of its settings changed."""
    own = recipe[approach] | settings
    return recipe | {"approaches": [approach], "seeds": [SEEDS[0]], approach: own}


def _pooling(value: str) -> Study:
    recipe = _variant(BBC64, "head", pooling=value)
    variant = Variant("bbc-64", "head", "pooling", value, "mean")
    return Study(f"bbc-64-{value}", f"BBC, 64 rows a class, pooling {value}", recipe, 220, variant)


def _verbalizer(value: str, prompted: int) -> Study:
    """``prompted`` leaves a document 64 tokens, as in the other studies."""
    recipe = _variant(BBC64, "instruct", verbalizer=value, tokenize={"max_length": prompted})
    variant = Variant("bbc-64", "instruct", "verbalizer", value, "label")
    return Study(
        f"bbc-64-{value}", f"BBC, 64 rows a class, answers by {value}", recipe, 210, variant
    )


LARGE = Study(
    "tags14-large",
    "Debian, 14 tags, instruct with 100 M trained parameters",
    _variant(TAGS14, "instruct", lora=WIDE | {"rank": LARGE_RANK}),
    1300,
    Variant("tags14", "instruct", "budget", f"rank {LARGE_RANK}", "rank 16"),
)

STUDIES = [
    Study("bbc-64", "BBC, 64 rows a class", BBC64, 1450),
    Study("bbc-16", "BBC, 16 rows a class", BBC16, 1300),
    Study("r8", "Reuters R8, at most 64 rows a class", R8, 2000),
    Study("tags14", "Debian, 14 tags", TAGS14, 1100),
    LARGE,
    _pooling("last"),
    _pooling("attention"),
    _verbalizer("number", 109),
    _verbalizer("letter", 108),
    Study("tags58", "Debian, 58 tags", TAGS58, 750),
    Study("bbc-256", "BBC, 256 rows a class", BBC256, 1050),
]
