"""Settings of what follows training: figures, the comparison, the registry, tracking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmclf_core.config.sections import NAME, PositiveInt, Section


class EvaluateConfig(Section):
    """Figures on the test rows."""

    batch_size: PositiveInt = 16
    """Texts in one forward pass."""
    bootstrap: PositiveInt = 2000
    """Resamples for the confidence intervals."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the confidence intervals."""
    bins: PositiveInt = 15
    """Bins of the calibration error."""
    seed: int = 0


class CompareConfig(Section):
    """The comparison of all approaches on the same test rows, and the choice of a champion."""

    metric: Literal["macro_f1", "micro_f1"] = "macro_f1"
    """The figure that is compared."""
    bootstrap: PositiveInt = 2000
    """Resamples for the intervals of differences."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the intervals."""
    significance: float = Field(default=0.05, ge=0.001, lt=1)
    """Level, after Holm's correction over all pairs, from which one is called worse."""
    texts: PositiveInt = 100_000
    """The cost of an approach is the time to train it once and to classify this many texts."""
    seed: int = 0
    """Of the resamples."""


class RegisterConfig(Section):
    """The registered model and the gate in front of it."""

    name: str | None = Field(default=None, max_length=100, pattern=NAME)
    """Registered model. Unset: the recipe's name."""
    floor: dict[str, float] = Field(default={})
    """Least values of test metrics (``{macro_f1: 0.8}``)."""
    significance: float = Field(default=0.05, ge=0.001, lt=1)
    """Level at which being worse than the champion on the same rows refuses promotion."""
    metric: Literal["macro_f1", "micro_f1"] = "macro_f1"
    """The figure by which it is judged against the champion. In a recipe: as in ``compare``."""
    texts: PositiveInt = 100_000
    """Where neither is significantly worse, the cheaper one is champion; the cost is the time to
    train it once and to classify this many texts. In a recipe: as in ``compare``."""


class TrackingConfig(Section):
    """Where runs and models are logged. Credentials come from the environment, never from here."""

    uri: str | None = None
    """MLflow tracking URI. Unset: ``MLFLOW_TRACKING_URI``, else SQLite in the runs directory."""
    experiment: str | None = None
    """MLflow experiment. Unset: the recipe's name."""
