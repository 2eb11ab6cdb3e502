"""Component: finetune_instruct."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finetune_instruct(
    tokens: Input[Dataset],
    classifier: Output[Model],
    base: Dict[str, Any],
    lora: Dict[str, Any],
    instruct: Dict[str, Any],
    training: Dict[str, Any],
    seed: int = 0,
):
    """Fine-tune a LoRA adapter on a frozen LLM so that it answers a prompt with a label's words.

    Args:
        tokens: What `tokenize` wrote for `instruct`.
        classifier: Adapter, prompt and tokenizer, with a reference to the base model.
        base: The recipe's `base` section: model, quantisation, compute type.
        lora: The recipe's `lora` section, unless `instruct` has its own.
        instruct: The recipe's `instruct` section: prompt, verbalizer, and what differs.
        training: The recipe's `training` section, unless `instruct` has its own.
        seed: Of everything random.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import classifier_facts

    def work() -> None:
        from llmclf_core import config
        from llmclf_core.steps.finetune_instruct import finetune_instruct

        own = config.parse(config.InstructConfig, instruct, "instruct")
        finetune_instruct(
            Path(tokens.path),
            config.parse(config.BaseModelConfig, base, "base"),
            own.lora or config.parse(config.LoraConfig, lora, "lora"),
            own,
            own.training or config.parse(config.TrainingConfig, training, "training"),
            Path(classifier.path),
            int(seed),
        )

    with step(f"finetune-instruct, seed {int(seed)}"):
        inputs, output = [Path(tokens.path)], Path(classifier.path)
        attempt("finetune-instruct", "instruct", int(seed), inputs, output, work)
    classifier.metadata.update(classifier_facts(output, f"Instructed LLM, seed {int(seed)}"))
