"""What each training of a recipe will take, on the machine where this runs."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmclf_core.artifacts import TRAIN, VALIDATION
from llmclf_core.config import IngestConfig, Recipe, TrainingConfig
from llmclf_core.errors import explain_os_errors
from llmclf_core.models.base import find_settings
from llmclf_core.paths import cache_dir
from llmclf_core.planning.check import Room
from llmclf_core.planning.estimate import Taken
from llmclf_core.planning.rehearsal import TooLargeError, estimate
from llmclf_core.planning.sample import Sample, sample
from llmclf_core.planning.setup import Neural, setup_of
from llmclf_core.tokens.tokenize import row_lengths, tokenize_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What one training will take.

    Attributes:
        approach: whose training it is.
        steps: optimiser steps, if it does not stop early.
        taken: None when not even a rehearsal fitted.
        seconds: of all its steps and validations; of that order.
        lack: what it needs more than there is, for a person; None when it fits.
    """

    approach: Neural
    steps: int
    taken: Taken | None
    seconds: float
    lack: str | None


class Planner:
    """Plans the trainings of recipes that differ from each other in anything but the data."""

    def __init__(self, rows: Sample, room: Room, scratch: Path) -> None:
        """Args:
        rows: of the data.
        room: the memory that there is.
        scratch: a directory.
        """
        self.rows, self.room, self._scratch = rows, room, scratch

    def plan(self, recipe: Recipe, approach: Neural) -> Plan:
        """Plan one training; those of other seeds are alike.

        Raises:
            UserError: for settings that a run would refuse.
        """
        setup, rules = setup_of(recipe, approach)
        place = Path(tempfile.mkdtemp(dir=self._scratch))
        base = find_settings(setup.base.source, setup.base.revision, place / "base")
        instruct = setup.instruct if approach == "instruct" else None
        tokens = tokenize_for(self.rows.corpus, base, rules, place / "tokens", instruct)
        total = {name: self._mean(row_lengths(tokens.splits[name]), name) for name in tokens.splits}
        total = {name: mean * self.rows.total[name] for name, mean in total.items()}
        steps = _steps(setup.training, self.rows.total[TRAIN])
        try:
            taken = estimate(setup, tokens, base.directory, int(total[TRAIN]))
        except TooLargeError as error:
            return Plan(approach, steps, None, math.nan, str(error))
        seconds = self._seconds(taken, setup.training, total)
        return Plan(approach, steps, taken, seconds, self.room.lacks(taken))

    def _mean(self, lengths: np.ndarray[tuple[int], np.dtype[np.int64]], split: str) -> float:
        return float(lengths[: self.rows.typical[split]].mean())

    def _seconds(
        self, taken: Taken, training: TrainingConfig, documents: Mapping[str, float]
    ) -> float:
        """``documents``: tokens of all texts, by split, without prompt and answer."""
        tokens = {k: n + taken.around * self.rows.total[k] for k, n in documents.items()}
        validations = training.epochs * training.evaluations_per_epoch
        return (
            taken.load_seconds
            + taken.frozen_seconds * sum(tokens.values())
            + taken.token_seconds * tokens[TRAIN] * training.epochs
            + taken.validation_seconds * tokens[VALIDATION] * validations
        )


@contextmanager
def planner(config: IngestConfig) -> Iterator[Planner]:
    """Read a recipe's data, and plan trainings on it inside.

    Args:
        config: the recipe's ``ingest`` section.

    Raises:
        UserError: for data that a run would refuse.
    """
    with explain_os_errors(cache_dir()):
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="plan-") as folder:
            rows = sample(config, Path(folder))
            yield Planner(rows, Room.now(), Path(folder))


def _steps(training: TrainingConfig, rows: int) -> int:
    return math.ceil(rows / (training.batch_size * training.accumulation)) * training.epochs
