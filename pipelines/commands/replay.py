"""``llmclf replay``: send MLflow what it missed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmclf_core.errors import UserError


def replay(
    journal: Annotated[Path, typer.Argument(help="tracking.jsonl of a classifier or evaluation.")],
) -> None:
    """Send what was logged while MLflow could not be reached. May be repeated."""
    from llmclf_core.registry.tracking import replay as send

    if not send(journal):
        raise UserError(f"MLflow could not be reached; {journal} still holds everything")
    print("MLflow has everything now")
