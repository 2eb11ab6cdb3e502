"""Component: finetune_head."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finetune_head(
    tokens: Input[Dataset],
    classifier: Output[Model],
    base: Dict[str, Any],
    lora: Dict[str, Any],
    head: Dict[str, Any],
    training: Dict[str, Any],
    seed: int = 0,
):
    """Fine-tune a classification head and a LoRA adapter on a frozen LLM.

    Args:
        tokens: What `tokenize` wrote.
        classifier: Adapter, head and tokenizer, with a reference to the base model.
        base: The recipe's `base` section: model, quantisation, compute type.
        lora: The recipe's `lora` section.
        head: The recipe's `head` section: pooling, layers, initialisation.
        training: The recipe's `training` section.
        seed: Of everything random.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import classifier_facts

    def work() -> None:
        from llmclf_core import config
        from llmclf_core.steps.finetune_head import finetune_head

        finetune_head(
            Path(tokens.path),
            config.parse(config.BaseModelConfig, base, "base"),
            config.parse(config.LoraConfig, lora, "lora"),
            config.parse(config.HeadConfig, head, "head"),
            config.parse(config.TrainingConfig, training, "training"),
            Path(classifier.path),
            int(seed),
        )

    with step(f"finetune-head, seed {int(seed)}"):
        inputs, output = [Path(tokens.path)], Path(classifier.path)
        attempt("finetune-head", "head", int(seed), inputs, output, work)
    classifier.metadata.update(classifier_facts(output, f"LLM with head, seed {int(seed)}"))
