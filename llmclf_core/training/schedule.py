"""Learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math


def rate_factor(step: int, total: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate at a step.

    Args:
        step: optimiser steps done so far, from 0.
        total: optimiser steps in all.
        warmup: share of the steps that rise linearly.
        schedule: ``cosine``, ``linear`` (both fall to zero) or ``constant``.

    Returns:
        A factor in (0, 1].
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(total - rising, 1)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
