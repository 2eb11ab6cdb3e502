"""Trains in a process of its own: approach, tokens, base, output, accumulation."""

import sys
from pathlib import Path

from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    TrainingConfig,
)
from llmclf_core.steps.finetune_head import finetune_head
from llmclf_core.steps.finetune_instruct import finetune_instruct

APPROACHES = {
    "head": (finetune_head, HeadConfig()),
    "instruct": (finetune_instruct, InstructConfig(prompt="{labels}\n{text}")),
}

if __name__ == "__main__":
    approach, tokens, base, output, accumulation = sys.argv[1:]
    finetune, own = APPROACHES[approach]
    finetune(
        Path(tokens),
        BaseModelConfig(source=base, dtype="float32"),
        LoraConfig(rank=4, dropout=0.0),
        own,
        TrainingConfig(
            epochs=1, batch_size=5, accumulation=int(accumulation), learning_rate=5e-3, patience=0
        ),
        Path(output),
    )
