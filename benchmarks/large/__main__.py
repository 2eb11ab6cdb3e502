"""Measure a model of 8B parameters with random weights in NF4; nothing is downloaded.

python -m benchmarks.large [--shape 8b|tiny] [--lengths 512 1024 2048] [--steps 5] [--output FILE]

Head and instruct, every length, in processes of their own. Without a GPU: the tiny shape.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims.portable import made_on
from benchmarks.large.measure import Setup, measure
from benchmarks.large.model import SHAPES
from llmclf_core.files import write_json
from llmclf_core.models.base import compute_dtype
from llmclf_core.registry.lineage import versions

APPROACHES = ("head", "instruct")


def main() -> None:
    """Print a line a measurement, and write the result file."""
    arguments = _arguments()
    results = []
    for setup in setups(arguments):
        result = vars(setup) | _in_own_process(setup)
        print(json.dumps(result), flush=True)
        results.append(result)
    if arguments.output:
        write_json(arguments.output, _document(results))


def setups(arguments: argparse.Namespace) -> list[Setup]:
    """What is to be measured, in order."""
    training: dict[str, Any] = {"gradient_checkpointing": arguments.gradient_checkpointing}
    training |= {"optimizer": arguments.optimizer, "compile": arguments.compile}
    dtype = str(compute_dtype("auto")).removeprefix("torch.")
    return [
        Setup(
            shape=arguments.shape,
            approach=approach,
            length=length,
            batch=max(1, arguments.tokens // length),
            dtype=dtype,
            rank=arguments.rank,
            steps=arguments.steps,
            training=training,
        )
        for approach in arguments.approaches
        for length in arguments.lengths
    ]


def _in_own_process(setup: Setup) -> dict[str, Any]:
    """Peak memory is a process's; a measurement that runs out of it leaves the others alone."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(measure, setup).result()
        except torch.OutOfMemoryError:
            return {"failed": "out of memory; fewer --tokens, or --gradient-checkpointing"}


def _document(results: list[dict[str, Any]]) -> dict[str, Any]:
    made = made_on()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": " ".join(["python -m benchmarks.large", *_without_output(sys.argv[1:])]),
        "card": card,
        "made_on": made | {"versions": made["versions"] | versions(["bitsandbytes"])},
        "results": results,
    }


def _without_output(arguments: list[str]) -> list[str]:
    """Where the result was written says nothing about it."""
    at = arguments.index("--output") if "--output" in arguments else len(arguments)
    return arguments[:at] + arguments[at + 2 :]


def _arguments() -> argparse.Namespace:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="8b" if gpu else "tiny")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--tokens", type=int, default=8192 if gpu else 2048, help="in a batch")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="timed, after a warm-up")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true", help="the layers, by PyTorch's compiler")
    parser.add_argument("--approaches", choices=APPROACHES, nargs="+", default=APPROACHES)
    default = "adamw_8bit" if gpu else "adamw"
    parser.add_argument("--optimizer", choices=["adamw", "adamw_8bit"], default=default)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
