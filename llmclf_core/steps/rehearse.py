"""A rehearsal: a training by its own code, on a cut-down base and a few rows; what it takes.

Run as a program: ``python -m llmclf_core.steps.rehearse ORDER RESULT``, two JSON files.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

_CLEAR_REFS = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # see proc(5)


@dataclass
class _Watch:
    """Notes what a training takes as it goes on; its ``log_metrics``."""

    steps: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    last: float = field(default_factory=time.monotonic)

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        (self.steps if "train_loss" in metrics else self.validations).append(self._lap())

    def building(self, build: Callable[[], Any]) -> Callable[[], Any]:
        """The same, but the peak until then is noted, and forgotten."""

        def noted() -> Any:
            model = build()
            self.load = [*_peaks(), self._lap()]
            _forget_peaks()
            return model

        return noted

    def _lap(self) -> float:
        now = time.monotonic()
        lap, self.last = now - self.last, now
        return lap


def rehearse(setup: dict[str, Any], tokens: Path, whole: Path) -> dict[str, float]:
    """Train as asked; in a process that has done nothing else.

    Args:
        setup: of a :class:`llmclf_core.planning.setup.Setup`.
        tokens: a saved :class:`llmclf_core.artifacts.Tokens`.
        whole: directory with the configuration of the whole base model.

    Returns:
        The fields of :class:`llmclf_core.planning.estimate.Taken`.
    """
    from llmclf_core.planning.estimate import Taken
    from llmclf_core.planning.parameters import count

    job, watch = make_job(setup, tokens), _Watch()
    job.state.mkdir(parents=True)
    job.build = watch.building(job.build)
    cost = job.train(watch).cost
    memory, gpu, seconds = watch.load
    trained, base = count(job, whole)
    taken = Taken(
        trained=trained,
        base=base,
        load_memory=memory,
        train_memory=cost["peak_memory_mb"] * 1e6,
        load_gpu=gpu,
        train_gpu=cost.get("peak_gpu_memory_mb", 0.0) * 1e6,
        load_seconds=seconds,
        **_by_token(job, watch, cost["train_tokens_per_second"] * cost["train_seconds"]),
    )
    return asdict(taken)


def _by_token(job: Any, watch: _Watch, read: float) -> dict[str, float]:
    """Time by the token; ``read``: tokens of all steps."""
    from llmclf_core.tokens.tokenize import row_lengths

    train, validation = (row_lengths(job.tokens.splits[s]) for s in ("train", "validation"))
    around = (read / job.training.epochs - train.sum()) / len(train)
    validated = validation.sum() + around * len(validation)
    frozen = sum(states.seconds for states in job.frozen.states.values())
    return {
        "token_seconds": mean(watch.steps[1:] or watch.steps) * len(watch.steps) / read,
        "validation_seconds": median(watch.validations) / validated,
        "frozen_seconds": frozen / (read / job.training.epochs + validated),
        "around": around,
    }


def make_job(setup: dict[str, Any], tokens: Path, seed: int = 0) -> Any:
    """The training that an approach's step does; arguments as :func:`rehearse` has them."""
    from llmclf_core.config import LoraConfig
    from llmclf_core.planning.setup import Setup
    from llmclf_core.steps.finetune_encoder import EncoderJob
    from llmclf_core.steps.finetune_head import HeadJob
    from llmclf_core.steps.finetune_instruct import InstructJob

    s = Setup.model_validate(setup)
    if s.approach == "encoder":
        return EncoderJob(tokens, s.base, s.lora, s.training, seed)
    lora = s.lora or LoraConfig()
    if s.approach == "instruct":
        return InstructJob(tokens, s.base, lora, s.instruct, s.training, seed)
    return HeadJob(tokens, s.base, lora, s.head, s.training, seed)


def _peaks() -> tuple[int, int]:
    from llmclf_core.training.memory import Peak

    now = Peak().now()
    return now.memory, now.gpu


def _forget_peaks() -> None:
    """Where that cannot be done, the peak while loading counts as one of training, too."""
    import torch

    with suppress(OSError):
        _CLEAR_REFS.write_text(_FORGET_PEAK)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Rehearse in a child process: what the parent of this one took counts as this one's peak."""
    order, result = map(Path, sys.argv[1:])
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(abs(os.waitstatus_to_exitcode(status)))
    from llmclf_core.errors import exit_on_user_error
    from llmclf_core.files import write_json

    with exit_on_user_error():
        given = json.loads(order.read_text("utf-8"))
        tokens, whole = Path(given["tokens"]), Path(given["whole"])
        write_json(result, rehearse(given["setup"], tokens, whole))


if __name__ == "__main__":
    main()
