"""The label space: names, order, and whether a text has exactly one label or any number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from llmclf_core.errors import UserError

Task = Literal["single", "multi"]


@dataclass(frozen=True)
class LabelSpace:
    """Ordered label names and the task they are used in.

    Attributes:
        names: distinct, non-empty; a label's id is its position here.
        task: ``single`` (exactly one label a text) or ``multi`` (any number, none included).

    Raises:
        UserError: for fewer than two labels, an empty name or a repeated one.
    """

    names: tuple[str, ...]
    task: Task

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise UserError(
                f"a classifier needs at least two labels, but the data has {len(self.names)}: "
                f"{list(self.names)}; check the label column"
            )
        if len(set(self.names)) != len(self.names) or not all(self.names):
            raise UserError(f"label names must be distinct and not empty: {list(self.names)}")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def encode(self, labels: Iterable[str]) -> list[int]:
        """Names to sorted ids.

        Raises:
            UserError: for a name outside the space.
        """
        try:
            return sorted({self._ids[name] for name in labels})
        except KeyError as error:
            raise UserError(
                f"unknown label {error.args[0]!r}; the labels are {', '.join(self.names[:20])}"
                + (" …" if len(self) > 20 else "")
            ) from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids to names, in the order given."""
        return [self.names[i] for i in ids]

    def indicators(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int8]:
        """Rows of label ids to a 0/1 matrix, shape (n_rows, n_labels), int8."""
        matrix = np.zeros((len(rows), len(self)), dtype=np.int8)
        for i, ids in enumerate(rows):
            matrix[i, list(ids)] = 1
        return matrix

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "task": self.task}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelSpace:
        return cls(tuple(data["names"]), data["task"])
