"""Ingest a million CSV rows: peak memory, speed, and how many planted duplicates are found.

    python benchmarks/ingest_memory.py [--rows 1000000] [--output benchmarks/results/ingest.json]

The file is made first, by another process, so that its making does not count.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections import deque
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

WORDS, LABELS, EXACT, NEAR = 60, 10, 0.01, 0.01
TARGET_MB = 1500


def main() -> None:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source = Path(folder) / "rows.csv"
        planted = _in_another_process(source, arguments.rows)
        result = _measure(source, Path(folder) / "corpus", arguments.rows)
    result |= {"planted": planted, "target_peak_mb": TARGET_MB}
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    if result["peak_rss_mb"] > TARGET_MB:
        sys.exit(f"peak memory {result['peak_rss_mb']} MB is over {TARGET_MB} MB")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the files go (about 2 GB a million)")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def _in_another_process(source: Path, rows: int) -> dict[str, int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(make_csv, (source, rows))


def make_csv(path: Path, rows: int) -> dict[str, int]:
    """Rows of words from a Zipf distribution; some repeat one of the last thousand rows.

    Returns:
        Rows written, and how many of them are exact and near copies.
    """
    rng = np.random.default_rng(7)
    vocabulary = np.asarray([f"w{i:x}" + "aeiou"[i % 5] * (i % 7) for i in range(50_000)])
    recent: deque[list[str]] = deque(maxlen=1000)
    planted = {"exact": 0, "near": 0}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        for i in range(rows):
            words, kind = _words(rng, vocabulary, recent)
            planted[kind] = planted.get(kind, 0) + 1
            writer.writerow([f"r{i}", " ".join(words), f"label {rng.integers(LABELS)}"])
    return {kind: planted[kind] for kind in ("exact", "near")} | {"bytes": path.stat().st_size}


def _words(
    rng: np.random.Generator, vocabulary: npt.NDArray[np.str_], recent: deque[list[str]]
) -> tuple[list[str], str]:
    copy = rng.random()
    if recent and copy < EXACT:
        return recent[rng.integers(len(recent))], "exact"
    if recent and copy < EXACT + NEAR:
        words = list(recent[rng.integers(len(recent))])
        words[rng.integers(len(words))] = "replaced"  # about 0.9 of the shingles stay
        return words, "near"
    ranks = rng.zipf(1.1, 3 * WORDS)
    words = vocabulary[ranks[ranks < len(vocabulary)][: rng.integers(WORDS - 15, WORDS + 15)]]
    recent.append(words.tolist())
    return words.tolist(), "new"


def _measure(source: Path, output: Path, rows: int) -> dict[str, Any]:
    from llmclf_core.config import IngestConfig
    from llmclf_core.corpus import ingest

    before = _peak_mb()
    start = time.perf_counter()
    corpus = ingest(IngestConfig(source=str(source), id="id"), output)
    seconds = time.perf_counter() - start
    return {
        "command": f"python benchmarks/ingest_memory.py --rows {rows}",
        "machine": {"cpu": _cpu(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("pyarrow", "datasets", "rensa", "numpy")},
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "peak_rss_mb": _peak_mb(),
        "rss_after_imports_mb": before,
        "fingerprint": corpus.fingerprint,
        "splits": {split: len(data) for split, data in corpus.splits.items()},
        "duplicates": corpus.report["duplicates"],
    }


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
