"""Whether the faster answers are as good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.reference.rows import Row


class Answers:
    """Predicted labels beside the true ones."""

    def __init__(self) -> None:
        self._right = self._predicted = self._true = 0

    def add(self, rows: Sequence[Row], predicted: Iterable[Sequence[str]]) -> None:
        for row, labels in zip(rows, predicted, strict=True):
            self._right += len(set(row.labels) & set(labels))
            self._predicted += len(labels)
            self._true += len(row.labels)

    @property
    def micro_f1(self) -> float:
        """2 × right / (predicted + true); 0 without any."""
        return 2 * self._right / max(self._predicted + self._true, 1)


def block(rows: Sequence[Row], turn: int, size: int) -> list[Row]:
    """The rows of a turn, the same for both sides; after the last row, the first."""
    return [rows[i % len(rows)] for i in range(turn * size, (turn + 1) * size)]
