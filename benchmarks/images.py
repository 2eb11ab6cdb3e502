"""Sizes of the image, and how long steps need in it before they work.

    python benchmarks/images.py [--times 5] [--output benchmarks/results/images.json]

A step's start-up is the time from asking the daemon for a container until the step's code has been
imported in it: what a step pays, whatever it does. The seconds of processor time in it do not hang
on what else the machine was doing. Needs docker and the image (``make image``).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import docker

from components import IMAGE
from pipelines.daemon import docker_client

MB = 1e6
STEPS = {
    "nothing (python -c pass)": "pass",
    "kfp's executor": "import kfp.dsl.executor_main",
    "ingest": "from llmclf_core.corpus import ingest",
    "tokenize": "from llmclf_core.tokens.tokenize import tokenize",
    "fit_tfidf": "from llmclf_core.steps.fit_tfidf import fit_tfidf",
    "fit_probe": "from llmclf_core.steps.fit_probe import fit_probe",
    "finetune_encoder": "from llmclf_core.steps.finetune_encoder import finetune_encoder",
    "finetune_head": "from llmclf_core.steps.finetune_head import finetune_head",
    "finetune_instruct": "from llmclf_core.steps.finetune_instruct import finetune_instruct",
    "evaluate": "from llmclf_core.steps.evaluate import evaluate_and_track",
    "compare": "from llmclf_core.steps.compare import compare_and_track",
    "register": "from llmclf_core.registry.register import register",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="starts of each step")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with closing(docker_client(IMAGE)) as client:
        client.api.timeout = 600  # the daemon collects an image before it hands it over
        result = {
            "command": f"python benchmarks/images.py --times {arguments.times}",
            "machine": {
                "cpu": _cpu(),
                "cores": os.cpu_count(),
                "load_average": round(os.getloadavg()[2], 1),
            },
            "docker": client.version()["Version"],
            "image": _sizes(client),
            "times": arguments.times,
            "startup_seconds": {n: _startup(client, n, arguments.times) for n in STEPS},
        }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _cpu() -> str:
    found = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return found[0].partition(":")[2].strip() if found else platform.processor()


def _sizes(client: docker.DockerClient) -> dict[str, Any]:
    image = client.images.get(IMAGE)
    sizes = [layer["Size"] for layer in client.api.history(image.id)]
    print("packing the image, to learn its compressed size (minutes)", flush=True)
    return {
        "name": IMAGE,
        "revision": image.labels["org.opencontainers.image.revision"],
        "uncompressed_mb": round(image.attrs["Size"] / MB, 1),
        "compressed_mb": round(_packed(image.save(named=False)) / MB, 1),
        "layers": len(image.attrs["RootFS"]["Layers"]),
        "layers_mb": [round(size / MB, 1) for size in sizes if size >= MB / 10],
    }


class _Counter:
    """Counts what is written to it."""

    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def _packed(pieces: Iterable[bytes]) -> int:
    """Bytes that a registry keeps, about: the layers packed by gzip at its usual level."""
    counter = _Counter()
    with gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=6) as packed:
        for piece in pieces:
            packed.write(piece)
    return counter.size


def _startup(client: docker.DockerClient, name: str, times: int) -> dict[str, Any]:
    executor = "" if STEPS[name] == "pass" else "import kfp.dsl.executor_main; "
    starts = [_start(client, executor + STEPS[name]) for _ in range(times)]
    wall, processor = zip(*starts, strict=True)
    print(f"{name}: {statistics.median(wall):.2f} s", flush=True)
    return {"wall": _summary(wall), "processor": _summary(processor)}


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    low, high = round(min(seconds), 2), round(max(seconds), 2)
    return {"median": round(statistics.median(seconds), 2), "range": [low, high]}


def _start(client: docker.DockerClient, code: str) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    begun = time.monotonic()
    container = client.containers.run(
        IMAGE, ["python3", "-c", code + "; import time; print('ready', time.process_time())"],
        detach=True, read_only=True, network_mode="host", tmpfs={"/tmp": ""},
        environment={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        printed = b"".join(container.logs(stream=True, follow=True)).decode()
        elapsed = time.monotonic() - begun
        if container.wait()["StatusCode"] or "ready " not in printed:
            raise SystemExit(printed)
        return elapsed, float(printed.split()[-1])
    finally:
        container.remove(force=True)


if __name__ == "__main__":
    main()
