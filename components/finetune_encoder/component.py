"""Component: finetune_encoder."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finetune_encoder(
    tokens: Input[Dataset],
    classifier: Output[Model],
    settings: Dict[str, Any],
    seed: int = 0,
):
    """Fine-tune an encoder such as BERT, all of its weights or an adapter.

    Args:
        tokens: What `tokenize` wrote for `encoder`.
        classifier: The whole model; or adapter and head, with a reference to the base model.
        settings: The recipe's `encoder` section: model, adapter, training.
        seed: Of everything random.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import classifier_facts

    def work() -> None:
        from llmclf_core.config import EncoderConfig, parse
        from llmclf_core.steps.finetune_encoder import finetune_encoder

        config = parse(EncoderConfig, settings, "encoder")
        finetune_encoder(
            Path(tokens.path),
            config.base,
            config.lora,
            config.training,
            Path(classifier.path),
            int(seed),
        )

    with step(f"finetune-encoder, seed {int(seed)}"):
        inputs, output = [Path(tokens.path)], Path(classifier.path)
        attempt("finetune-encoder", "encoder", int(seed), inputs, output, work)
    classifier.metadata.update(classifier_facts(output, f"Encoder, seed {int(seed)}"))
