"""Before a training: whether there is the memory that it will need."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from llmclf_core.errors import UserError
from llmclf_core.planning import capacity
from llmclf_core.planning.bound import bound
from llmclf_core.planning.estimate import Taken
from llmclf_core.planning.rehearsal import TooLargeError, estimate, tokens_of
from llmclf_core.planning.setup import Setup
from llmclf_core.processes import process_state

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Room:
    """Memory that is to be had, in bytes.

    Attributes:
        memory: of the machine, or of the container.
        gpu: None without one.
    """

    memory: int
    gpu: int | None

    @classmethod
    def now(cls) -> Room:
        """What there is at this moment."""
        return cls(capacity.memory(), capacity.gpu_memory())

    def lacks(self, taken: Taken) -> str | None:
        """What a training needs more than there is, for a person; None when it fits."""
        needs = {"memory": (taken.memory, self.memory), "GPU memory": (taken.gpu, self.gpu)}
        for name, (need, have) in needs.items():
            if have is not None and need > have:
                return f"about {gigabytes(need)} of {name}, and there are {gigabytes(have)}"
        return None


def gigabytes(number: int) -> str:
    """Bytes for a person: ``3.4 GB``."""
    return f"{number / 1e9:.1f} GB"


def check_memory(job: Any) -> None:
    """Refuse a training, or warn of it, when it will not fit; ``memory_check`` says which.

    Costs nothing where a generous bound fits, else a rehearsal. Trainings of several processes are
    not checked.

    Args:
        job: a :class:`llmclf_core.steps.neural.NeuralJob`.

    Raises:
        UserError: when it will not fit.
    """
    wanted = job.training.memory_check
    if wanted == "off" or process_state().num_processes > 1:
        return
    room = Room.now()
    try:
        lack = _lack(job, room)
    except Exception as error:
        # Not every architecture can be cut down; that is no reason not to train.
        log.warning("%s: what memory it needs cannot be told: %s", job.approach, error)
        return
    if lack is None:
        return
    message = f"{job.approach}: training needs {lack}; `llmclf plan RECIPE` says what to change"
    if wanted == "refuse":
        raise UserError(f"{message} (training.memory_check: warn tries all the same)")
    log.warning("%s", message)


def _lack(job: Any, room: Room) -> str | None:
    if bound(job) <= min(room.memory, room.gpu or room.memory):
        return None
    log.info("%s: a rehearsal shows whether the training fits into memory", job.approach)
    own = {name: getattr(job, name) for name in ("lora", "head", "instruct") if hasattr(job, name)}
    setup = Setup(approach=job.approach, base=job.base_config, training=job.training, **own)
    try:
        read = tokens_of(job.tokens)
        return room.lacks(estimate(setup, job.tokens, job.base.directory, read))
    except TooLargeError:
        return f"more than there is ({gigabytes(room.memory)})"
