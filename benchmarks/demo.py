"""`make demo` as a user runs it: time, figures, and what a second run and NF4 change.

    python benchmarks/demo.py [--nf4] [--folder DIR] [--output benchmarks/results/demo.json]

Seconds are those of the pipeline, set-up and downloads aside. Runs that have ended are kept in the
folder, so a broken benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

VARIANTS: dict[str, list[str]] = {
    "first": [],
    "second (steps reused)": [],
}
NF4 = {"nf4": ["--quantization", "nf4", "--approach", "head"]}
METRICS = ("macro_f1", "micro_f1", "accuracy", "log_loss", "calibration_error")
COSTS = (
    "trained_parameters",
    "train_seconds",
    "train_tokens_per_second",
    "peak_memory_mb",
    "artifact_mb",
    "predict_texts_per_second",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nf4", action="store_true", help="the head on a 4-bit base as well")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="llmclf-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    variants = VARIANTS | (NF4 if arguments.nf4 else {})
    result = {
        "command": "python benchmarks/demo.py",
        "machine": {"cpu": _cpu(), "cores": os.cpu_count()},
        "versions": {n: version(n) for n in ("torch", "transformers", "peft", "kfp", "mlflow")},
        "runs": {name: _variant(name, options, folder) for name, options in variants.items()},
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _variant(name: str, options: list[str], folder: Path) -> dict[str, Any]:
    kept = folder / f"{name.split()[0]}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text("utf-8")))
    arguments = shlex.join(["--runs", str(folder / "runs"), *options])
    command = ["make", "demo", f"DEMO_ARGS={arguments}"]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    measured = _summary(folder / "runs")
    kept.write_text(json.dumps(measured), "utf-8")
    return measured


def _summary(runs: Path) -> dict[str, Any]:
    latest = json.loads((runs / "latest.json").read_text("utf-8"))["run"]
    summary = json.loads((runs / latest / "summary.json").read_text("utf-8"))
    return {
        "seconds": summary["seconds"],
        "answer": summary["answer"],
        "champion": summary["champion"],
        "missing": summary["missing"],
        "test_rows": summary["test_rows"],
        "approaches": {a["approach"]: _figures(a) for a in summary["approaches"]},
        "pairs": summary["pairs"],
        "version": summary["registration"]["version"],
        "aliases": summary["registration"]["aliases"],
        "classifier": summary["classifier"],
    }


def _figures(approach: dict[str, Any]) -> dict[str, Any]:
    return {
        "seeds": approach["seeds"],
        "quantization": approach["quantization"],
        "metrics": {name: round(approach["metrics"][name]["mean"], 6) for name in METRICS},
        "interval": [round(v, 6) for v in approach["interval"]],
        "cost": {n: round(approach["cost"][n], 2) for n in COSTS if n in approach["cost"]},
    }


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
