from llmclf_core.training.cost import cost_of
from llmclf_core.training.memory import Peak


def test_figures():
    assert cost_of(12, 4.0, Peak(5_000_000), 1000) == {
        "trained_parameters": 12,
        "train_seconds": 4.0,
        "train_tokens_per_second": 250.0,
        "peak_memory_mb": 5.0,
    }
    assert cost_of(1, 1.0, Peak(1, 2_000_000))["peak_gpu_memory_mb"] == 2.0
    assert "train_tokens_per_second" not in cost_of(1, 1.0, Peak())


def test_no_time_spent():
    assert cost_of(1, 0.0, Peak(), 0)["train_tokens_per_second"] == 0
