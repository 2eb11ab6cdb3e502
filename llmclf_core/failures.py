"""What lies in an artifact's place when it could not be made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from llmclf_core.files import atomic_directory, read_json, stamp, write_json

FAILURE = "failure.json"


@dataclass(frozen=True)
class Failure:
    """Why there is no artifact.

    Attributes:
        approach: whose step it was.
        seed: of the training; None where there is none.
        step: the step that failed.
        reason: one message.
    """

    approach: str
    seed: int | None
    step: str
    reason: str

    def __str__(self) -> str:
        seed = "" if self.seed is None else f" (seed {self.seed})"
        return f"{self.approach}{seed}, {self.step}: {self.reason}"

    def save(self, path: Path) -> None:
        """Put it in the place of the artifact ``path``, whatever lies there."""
        with atomic_directory(path) as draft:
            write_json(draft / FAILURE, stamp("failure") | asdict(self))


def failure_in(path: Path) -> Failure | None:
    """What stands in an artifact's place, if it could not be made."""
    if not (path / FAILURE).is_file():
        return None
    data = read_json(path / FAILURE, "failure")
    return Failure(**{name: data[name] for name in Failure.__dataclass_fields__})
