"""The comparison of all approaches on the same test rows, as an artifact."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmclf_core.config import CompareConfig
from llmclf_core.evaluation.evaluation import REPORT
from llmclf_core.failures import Failure
from llmclf_core.files import atomic_directory, explain_header, read_json, stamp, write_json

HEADER = "comparison.json"


@dataclass(frozen=True)
class Spread:
    """A figure over an approach's seeds; the standard deviation (n - 1) needs two of them."""

    mean: float
    low: float
    high: float
    deviation: float | None


@dataclass(frozen=True)
class ApproachFigures:
    """One approach over its seeds.

    Attributes:
        approach: its name.
        seeds: of its trials, ascending; None for an approach that knows no chance.
        base, quantization: of all its trials.
        metrics: of the test rows, by name.
        interval: (low, high) of the compared metric's mean.
        cost: means by name, ``predict_texts_per_second`` among them.
        seconds: to train it once and to classify ``CompareConfig.texts``; None when not known.
        label_f1: mean F1 of each label, in label order.
        chosen: fingerprint of the trial with the best validation score.
        chosen_seed: of that trial.
    """

    approach: str
    seeds: list[int | None]
    base: str | None
    quantization: str
    metrics: dict[str, Spread]
    interval: tuple[float, float]
    cost: dict[str, float]
    seconds: float | None
    label_f1: list[float]
    chosen: str
    chosen_seed: int | None


@dataclass(frozen=True)
class PairFigures:
    """Approach ``a`` less approach ``b`` on the same rows.

    Attributes:
        a, b: the approaches.
        difference, low, high: of the mean compared metric, with its interval.
        p, adjusted_p: of the bootstrap; adjusted by Holm over all pairs.
        mcnemar_p, adjusted_mcnemar_p: of accuracy; None when multi-label.
        only_a, only_b: rows that only one gets wholly right, mean over pairings of seeds.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    adjusted_p: float
    mcnemar_p: float | None
    adjusted_mcnemar_p: float | None
    only_a: float
    only_b: float


@dataclass
class Comparison:
    """Every figure of the comparison, and the champion.

    Attributes:
        approaches: in the order of :data:`llmclf_core.config.APPROACHES`.
        pairs: every two of them.
        missing: trials that failed.
        champion: the chosen approach.
        answer: what to use and why, in one sentence with numbers.
        settings: of the comparison.
        resamples: bootstrap samples behind intervals and p-values.
        rows: number of test rows.
        labels: names and task.
        corpus: fingerprint of the corpus.
    """

    approaches: list[ApproachFigures]
    pairs: list[PairFigures]
    missing: list[Failure]
    champion: str
    answer: str
    settings: CompareConfig
    resamples: int
    rows: int
    labels: dict[str, Any]
    corpus: str

    def __getitem__(self, approach: str) -> ApproachFigures:
        return next(a for a in self.approaches if a.approach == approach)

    @property
    def winner(self) -> ApproachFigures:
        """The champion's figures; ``chosen`` is the classifier to register."""
        return self[self.champion]

    def significantly_worse(self, a: str, b: str) -> bool:
        """Whether ``a`` scores less than ``b``, and not by chance (adjusted bootstrap p)."""
        for pair in self.pairs:
            if {pair.a, pair.b} == {a, b}:
                difference = pair.difference if pair.a == a else -pair.difference
                return difference < 0 and pair.adjusted_p < self.settings.significance
        return False

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"settings": self.settings.model_dump()}

    def save(self, path: Path, page: str = "") -> None:
        """Write figures and the HTML report as one directory, atomically.

        Args:
            path: the directory.
            page: the report, as :func:`llmclf_core.evaluation.pages.render_comparison` makes it.

        Raises:
            UserError: when the place cannot be written.
        """
        with atomic_directory(path) as draft:
            write_json(draft / HEADER, stamp("comparison") | self.to_json())
            (draft / REPORT).write_text(page, "utf-8")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Raises UserError for anything that is not a whole comparison of this schema."""
        data = read_json(path / HEADER, "comparison")
        with explain_header(path / HEADER):
            own = {name: data[name] for name in cls.__dataclass_fields__}
            own["approaches"] = [_approach(item) for item in own["approaches"]]
            own["pairs"] = [PairFigures(**item) for item in own["pairs"]]
            own["missing"] = [Failure(**item) for item in own["missing"]]
            own["settings"] = CompareConfig(**own["settings"])
            return cls(**own)


def _approach(data: dict[str, Any]) -> ApproachFigures:
    metrics = {name: Spread(**spread) for name, spread in data["metrics"].items()}
    low, high = data["interval"]
    return ApproachFigures(**data | {"metrics": metrics, "interval": (low, high)})
