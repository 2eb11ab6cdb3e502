"""How near the plan's peak memory is to what a training on the CPU really takes.

    python benchmarks/plan_memory.py --output benchmarks/results/plan_memory.json

The trainings are real ones, by the steps' own code, each in a process of its own: all layers of the
demo's models, real texts of many lengths (`make assets`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOLERANCE = 0.1
ROWS = {"train": 24, "validation": 16}
"""Taken at random."""
MODELS = {
    "encoder": "assets/minilm",
    "head": "assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "instruct": "assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        name: of the case.
        approach: ``head``, ``instruct`` or ``encoder``.
        batch, length: rows in a batch, and tokens that are kept of a text.
        quantization: of the base.
        lora: settings of the adapter; None without one.
        training: settings of the loop that differ.
    """

    name: str
    approach: str
    batch: int
    length: int
    quantization: str = "none"
    lora: dict[str, Any] | None = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("head", "head", 4, 48),
    Case("head, nf4", "head", 4, 64, "nf4"),
    Case("head, checkpointing", "head", 8, 64, training={"gradient_checkpointing": True}),
    Case("head, top layers", "head", 8, 64, lora={"top_layers": 6}, training={"epochs": 2}),
    Case("instruct", "instruct", 4, 96),
    Case("instruct, nf4, top layers", "instruct", 4, 96, "nf4", {"top_layers": 6}, {"epochs": 2}),
    Case("encoder", "encoder", 16, 96, lora=None),
    Case("encoder, long", "encoder", 8, 384, lora=None),
    Case("encoder, adapter", "encoder", 16, 128),
)


def main() -> None:
    arguments = _arguments()
    if arguments.train:
        print(json.dumps(train(Path(arguments.train))))
        return
    results = []
    for case in CASES:
        if not arguments.only or case.name in arguments.only:
            results.append(compare(case))
            print(json.dumps(results[-1]), flush=True)
    result = {"command": "python benchmarks/plan_memory.py", "tolerance": TOLERANCE}
    result |= {"machine": _machine(), "rows": ROWS, "cases": results}
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", help="name of a case; repeat for several")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    from llmclf_core.registry.lineage import machine, versions

    libraries = ["bitsandbytes", "peft", "torch", "transformers"]
    return machine() | {"libc": os.confstr("CS_GNU_LIBC_VERSION"), "versions": versions(libraries)}


def compare(case: Case) -> dict[str, Any]:
    """Plan a case, then train it."""
    from llmclf_core.artifacts import Tokens
    from llmclf_core.models.base import resolve
    from llmclf_core.planning.bound import bound
    from llmclf_core.planning.rehearsal import estimate, tokens_of
    from llmclf_core.steps.rehearse import make_job

    with tempfile.TemporaryDirectory() as folder:
        tokens, setup = prepare(case, Path(folder))
        directory = resolve(setup.base.source).directory
        rows = Tokens.load(tokens)
        planned = estimate(setup, rows, directory, tokens_of(rows))
        order = {"setup": setup.model_dump(), "tokens": str(tokens), "folder": folder}
        (Path(folder) / "order.json").write_text(json.dumps(order))
        command = [sys.executable, __file__, "--train", f"{folder}/order.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        cost = json.loads(done.stdout.splitlines()[-1])
        limit = bound(make_job(setup.model_dump(), tokens))
    measured = cost["peak_memory_mb"]
    return {
        "case": case.name,
        "approach": case.approach,
        "batch_size": case.batch,
        "max_length": case.length,
        "quantization": case.quantization,
        "lora": case.lora,
        "training": case.training,
        "trained_parameters": int(cost["trained_parameters"]),
        "planned_parameters": int(planned.trained),
        "measured_mb": round(measured),
        "planned_mb": round(planned.memory / 1e6),
        "error": round(planned.memory / 1e6 / measured - 1, 3),
        "bound_mb": round(limit / 1e6),
    }


def prepare(case: Case, folder: Path) -> tuple[Path, Any]:
    """Tokens of real texts, and the training's settings."""
    from llmclf_core.config import BaseModelConfig, LoraConfig, TokenizeConfig, TrainingConfig
    from llmclf_core.models.base import resolve
    from llmclf_core.paths import cache_dir
    from llmclf_core.planning.setup import Setup
    from llmclf_core.tokens.tokenize import tokenize

    base = BaseModelConfig(
        # Converted before, as it is when a training begins.
        source=str(resolve(str(cache_dir() / MODELS[case.approach])).directory),
        quantization=case.quantization,
        dtype="float32",
    )
    setup = Setup(
        approach=case.approach,
        base=base,
        training=TrainingConfig(**{"batch_size": case.batch, "epochs": 1} | case.training),
        lora=None if case.lora is None else LoraConfig(**case.lora),
    )
    corpus(folder / "corpus")
    instruct = setup.instruct if case.approach == "instruct" else None
    rules = TokenizeConfig(max_length=case.length)
    tokenize(folder / "corpus", base, rules, folder / "tokens", instruct)
    return folder / "tokens", setup


def corpus(output: Path) -> None:
    """BBC's news, a few of them."""
    from llmclf_core.artifacts import Corpus
    from llmclf_core.config import IngestConfig
    from llmclf_core.corpus.ingest import ingest
    from llmclf_core.paths import cache_dir

    source = str(cache_dir() / "assets" / "bbc")
    settings = {"source": source, "format": "folder", "bad_bytes": "replace"}
    config = IngestConfig.model_validate(settings | {"duplicates": {"near": False}})
    whole = ingest(config, output.with_name("whole"))
    few = {
        name: split.shuffle(seed=0).select(range(min(ROWS.get(name, 16), len(split))))
        for name, split in whole.splits.items()
    }
    Corpus(few, whole.labels, whole.fingerprint).save(output)


def train(order: Path) -> dict[str, float]:
    """Train in a process that has done nothing else; what it cost."""
    given = json.loads(order.read_text())
    os.environ["LLMCLF_CACHE"] = str(Path(given["folder"]) / "cache")
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    read, write = os.pipe()
    if os.fork():  # what the parent of this process took would count as this one's
        os.close(write)
        with os.fdopen(read) as pipe:
            return json.loads(pipe.read())
    from llmclf_core.steps.rehearse import make_job

    job = make_job(given["setup"], Path(given["tokens"]))
    cost = job.run(Path(given["folder"]) / "classifier").cost
    with os.fdopen(write, "w") as pipe:
        pipe.write(json.dumps(cost))
    os._exit(0)


if __name__ == "__main__":
    main()
