"""Component: tokenize."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tokenize(
    corpus: Input[Dataset],
    tokens: Output[Dataset],
    approach: str,
    base: Dict[str, Any] = {},  # noqa: B006
    settings: Dict[str, Any] = {},  # noqa: B006
    own: Dict[str, Any] = {},  # noqa: B006
    base_version: str = "",
):
    """Turn the training and validation texts into token ids (never the test texts).

    Args:
        corpus: What `ingest` wrote.
        tokens: Arrow token ids with the tokenizer, its settings and truncation statistics.
        approach: Who will read them: `head`, `probe`, `instruct` or `encoder`.
        base: The recipe's `base` section; the base model's tokenizer is used.
        settings: The recipe's `tokenize` section.
        own: The recipe's section of the approach, for `instruct` (which has a prompt) and `encoder`
            (which has a base and settings of its own).
        base_version: Changes when the base model's files do, so that nothing made with the former
            ones is reused.
    """
    from pathlib import Path

    from llmclf_core.steps.attempt import attempt
    from llmclf_core.steps.process import step
    from llmclf_core.steps.titles import token_facts

    def work() -> None:
        from llmclf_core.config import tokenize_settings
        from llmclf_core.tokens.tokenize import tokenize

        base_config, config, instruct = tokenize_settings(approach, base, settings, own)
        tokenize(Path(corpus.path), base_config, config, Path(tokens.path), instruct)

    with step(f"tokenize for {approach}"):
        attempt("tokenize", approach, None, [], Path(tokens.path), work)
    facts = token_facts(Path(tokens.path), f"Tokens for {approach}")
    tokens.metadata.update(facts, base_version=base_version)
