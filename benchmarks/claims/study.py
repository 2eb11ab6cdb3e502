"""What a study is: one run of the pipeline, and what it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from llmclf_core.config import Recipe, parse_recipe
from llmclf_core.paths import fingerprint


@dataclass(frozen=True)
class Variant:
    """One approach of another study, with one setting changed.

    Attributes:
        of: the other study, which has the same rows.
        approach: whose setting it is.
        family: the question that it belongs to.
        value: the setting here.
        usual: the setting there.
    """

    of: str
    approach: str
    family: Literal["pooling", "verbalizer", "budget"]
    value: str
    usual: str


@dataclass(frozen=True)
class Study:
    """One run of the pipeline.

    Attributes:
        name: short; names the run.
        title: for the table.
        recipe: plain data of a recipe, all but its name.
        seconds: expected on two cores; it is not started when less time is left.
        variant: set when it is there to be compared with another study.
    """

    name: str
    title: str
    recipe: dict[str, Any]
    seconds: int
    variant: Variant | None = None

    @property
    def task(self) -> str:
        """``single`` or ``multi``."""
        return self.parsed().ingest.labels.task

    @property
    def key(self) -> str:
        """Changes when the plan's recipe does; new settings elsewhere leave results alone."""
        return fingerprint(self.recipe)

    def parsed(self) -> Recipe:
        return parse_recipe(self.recipe | {"name": f"claims-{self.name}"}, {}, self.name)
