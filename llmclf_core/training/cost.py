"""What a training cost: parameters, seconds, tokens, memory. Needs no torch."""

from __future__ import annotations

from llmclf_core.training.memory import Peak


def cost_of(
    parameters: int, seconds: float, peak: Peak, tokens: int | None = None
) -> dict[str, float]:
    """Figures that are comparable between approaches.

    Args:
        parameters: how many were trained.
        seconds: spent on it, from loading the model to the last validation, over all attempts of a
            resumed training.
        peak: the most memory taken, over all attempts.
        tokens: trained on (real ones, no padding); None where there are none.

    Returns:
        ``trained_parameters``, ``train_seconds``, ``train_tokens_per_second`` (with ``tokens``),
        ``peak_memory_mb`` (of the process, 1 MB = 10^6 bytes) and, when a GPU was used,
        ``peak_gpu_memory_mb``.
    """
    cost: dict[str, float] = {"trained_parameters": parameters, "train_seconds": seconds}
    if tokens is not None:
        cost["train_tokens_per_second"] = tokens / max(seconds, 1e-9)
    cost["peak_memory_mb"] = peak.memory / 1e6
    if peak.gpu:
        cost["peak_gpu_memory_mb"] = peak.gpu / 1e6
    return cost
