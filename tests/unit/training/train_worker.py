"""Trains in a process of its own: tokens, base, output, accumulation."""

import sys
from pathlib import Path

from llmclf_core.config import BaseModelConfig, HeadConfig, LoraConfig, TrainingConfig
from llmclf_core.steps.finetune_head import finetune_head

if __name__ == "__main__":
    tokens, base, output, accumulation = sys.argv[1:]
    finetune_head(
        Path(tokens),
        BaseModelConfig(source=base, dtype="float32"),
        LoraConfig(rank=4, dropout=0.0),
        HeadConfig(),
        TrainingConfig(
            epochs=1, batch_size=4, accumulation=int(accumulation), learning_rate=5e-3, patience=0
        ),
        Path(output),
    )
