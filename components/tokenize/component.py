"""Component: tokenize."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tokenize(
    corpus: Input[Dataset],
    tokens: Output[Dataset],
    base: Dict[str, Any],
    settings: Dict[str, Any],
    base_version: str = "",
):
    """Turn the training and validation texts into token ids (never the test texts).

    Args:
        corpus: What `ingest` wrote.
        tokens: Arrow token ids with the tokenizer, its settings and truncation statistics.
        base: The recipe's `base` section; the base model's tokenizer is used.
        settings: The recipe's `tokenize` section.
        base_version: Changes when the base model's files do, so that nothing made with the former
            ones is reused.
    """
    from pathlib import Path

    from llmclf_core.config import BaseModelConfig, TokenizeConfig, parse
    from llmclf_core.steps.process import step
    from llmclf_core.tokens.tokenize import tokenize

    with step("tokenize"):
        result = tokenize(
            Path(corpus.path),
            parse(BaseModelConfig, base, "base"),
            parse(TokenizeConfig, settings, "tokenize"),
            Path(tokens.path),
        )
    tokens.metadata["base_version"] = base_version
    tokens.metadata.update(
        {f"{s}_{k}": v for s, stats in result.statistics.items() for k, v in stats.items()}
    )
