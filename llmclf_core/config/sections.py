"""What all settings share, and how plain data becomes settings."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmclf_core.errors import UserError

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0.0)]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that MLflow and file systems take as they are."""


class Section(BaseModel):
    """Base of all settings: immutable, refuses unknown keys, documented by attribute docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=Section)


def parse(section: type[S], data: Any, where: str) -> S:
    """Validate plain data as a section of settings.

    Args:
        section: the settings class.
        data: what YAML or JSON gave.
        where: named in the message (a file, a component's argument).

    Raises:
        UserError: naming every wrong key and why.
    """
    try:
        return section.model_validate(data)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(p) for p in e['loc']) or '(top level)'}: {_plain(e)}"
            for e in error.errors()
        ]
        raise UserError(f"{where}: invalid settings\n" + "\n".join(lines)) from None


def _plain(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "no such setting"
    return str(error["msg"]).removeprefix("Value error, ")
