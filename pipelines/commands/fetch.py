"""``llmclf fetch``: models and corpora of the shipped recipes."""

from __future__ import annotations

from typing import Annotated

import typer

from llmclf_core.errors import UserError


def fetch(
    names: Annotated[list[str], typer.Argument(help="smollm2, minilm, bbc, orange, debian-tags.")],
) -> None:
    """Fetch the models and corpora of the shipped recipes into the cache."""
    from pipelines.assets import NAMES
    from pipelines.assets import fetch as fetch_asset

    for name in names:
        if name not in NAMES:
            raise UserError(f"no asset {name}; there are {', '.join(NAMES)}")
        print(fetch_asset(name))
