"""Every setting: typed, validated and documented where it is declared.

A recipe (YAML) is one :class:`Recipe`; each section is what one step of the pipeline reads.
Unknown keys are refused, so a misspelt setting never passes silently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmclf_core.errors import UserError

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0.0)]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that MLflow and file systems take as they are."""

SourceFormat = Literal[
    "auto", "csv", "tsv", "jsonl", "parquet", "arrow", "hub", "saved", "folder", "wipo", "hupd"
]
Pooling = Literal["last", "mean", "attention"]


class Section(BaseModel):
    """Base of all settings: immutable, refuses unknown keys, documented by attribute docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LabelColumns(Section):
    """Where a row's labels stand in the source."""

    columns: list[str] = Field(default=["label"], min_length=1)
    """One column, or with ``layout: indicators`` the 0/1 columns (their names are the labels)."""
    layout: Literal["column", "list", "delimited", "indicators"] = "column"
    """``column``: one label; ``list``: a list of labels; ``delimited``: labels in one string;
    ``indicators``: one 0/1 column a label."""
    delimiter: str = Field(default=";", min_length=1)
    """Separates labels with ``layout: delimited``; spaces around a label are dropped."""
    task: Literal["single", "multi"] = "single"
    """``single``: exactly one label a text. ``multi``: any number of labels a text."""
    names: list[str] | None = None
    """The allowed labels in order. Unset: those found in the data, sorted."""
    max_labels: PositiveInt = 1000
    """More distinct labels than this are refused: the label column is probably an id column."""

    @model_validator(mode="after")
    def _one_column(self) -> LabelColumns:
        if self.layout != "indicators" and len(self.columns) != 1:
            raise ValueError(f"layout {self.layout!r} takes exactly one label column")
        return self


class SplitConfig(Section):
    """How rows are divided when the source does not do so itself."""

    validation: Fraction = 0.1
    """Share of the rows for early stopping, calibration and thresholds."""
    test: Fraction = 0.2
    """Share of the rows kept for the final figures."""
    column: str | None = None
    """Column that already names the split (``train``, ``validation``, ``test``)."""
    group: str | None = None
    """Rows with the same value never straddle splits (for patents: the family)."""
    train_rows_per_label: PositiveInt | None = None
    """Keep at most this many training rows of each label, drawn by ``seed``: a quick trial, or a
    learning curve. Validation and test stay as they are. Unset: all."""
    seed: int = 13
    """Seed of the division; the training seed does not change it."""

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1: no rows are left to train on")
        return self


class DuplicateConfig(Section):
    """Detection of rows that say the same thing, so that no test row leaks into training."""

    near: bool = True
    """Also look for near duplicates (MinHash), not only for equal texts."""
    threshold: float = Field(default=0.8, gt=0.0, le=1.0)
    """Estimated Jaccard similarity of word shingles from which two texts are near duplicates."""
    shingle: PositiveInt = 3
    """Words in a shingle."""
    permutations: PositiveInt = 128
    """Hash functions of a MinHash signature; more is more exact and slower."""


class IngestConfig(Section):
    """Read, validate, deduplicate and split a labelled text collection."""

    source: str | dict[str, str]
    """A file, a directory or a Hugging Face dataset id; or one for each split
    (``{train: a.csv, test: b.csv}``)."""
    format: SourceFormat = "auto"
    """``auto`` goes by file extension and directory content."""
    revision: str | None = None
    """Git revision of a Hugging Face dataset."""
    subset: str | None = None
    """Configuration name of a Hugging Face dataset."""
    text: list[str] = Field(default=["text"], min_length=1)
    """Columns joined to the text, in this order; empty ones are left out."""
    joiner: str = "\n\n"
    """Stands between joined columns."""
    id: str | None = None
    """Column with a unique row id. Unset: the row's number."""
    labels: LabelColumns = LabelColumns()
    """The label columns."""
    split: SplitConfig = SplitConfig()
    """The division into train, validation and test."""
    duplicates: DuplicateConfig = DuplicateConfig()
    """Duplicate detection."""
    encoding: str = "utf-8"
    """Character encoding of text files."""
    bad_bytes: Literal["error", "replace"] = "error"
    """Bytes that are not valid in ``encoding``: refuse, or replace by U+FFFD and report."""
    bad_rows: Literal["error", "drop"] = "error"
    """Rows with empty text, no label (single-label) or too much text: refuse, or drop and
    report."""
    max_chars: PositiveInt = 1_000_000
    """A longer text is a bad row."""
    min_rows_per_label: PositiveInt = 2
    """A label with fewer rows is refused: it cannot be both trained and tested."""
    limit: PositiveInt | None = None
    """Read only this many rows of each source."""


class BaseModelConfig(Section):
    """The pretrained model, which is referenced and never copied."""

    source: str
    """Hub id, directory, or GGUF file (``~`` and ``${VARIABLES}`` are expanded)."""
    revision: str | None = None
    """Git revision on the hub; recorded as the commit it resolves to."""
    quantization: Literal["none", "nf4"] = "none"
    """``nf4``: 4-bit NormalFloat of the base weights (QLoRA)."""
    double_quantization: bool = True
    """Quantise the NF4 constants too (saves about 0.4 bit a weight)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type. ``auto``: bfloat16 where the hardware has it, else float32."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """Attention implementation; ``auto`` leaves it to transformers."""


class TokenizeConfig(Section):
    """Turn texts into token ids."""

    max_length: PositiveInt = 512
    """Tokens kept of a text, special tokens included."""
    truncation_side: Literal["right", "left"] = "right"
    """Which end is cut off from a text that is too long."""
    append_eos: bool = False
    """End every sequence with the end-of-text token (``last`` pooling then always sees it)."""


class LoraConfig(Section):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: PositiveInt = 16
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the adapter's output: alpha / rank, or alpha / sqrt(rank) with ``rslora``."""
    dropout: Fraction = 0.05
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the linear layers that get an adapter."""
    rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""
    top_layers: PositiveInt | None = None
    """Adapt only the last n transformer layers. Unset: all of them."""


class HeadConfig(Section):
    """The classification head on the pooled embedding."""

    pooling: Pooling = "last"
    """Which hidden states are pooled, always by the attention mask: the last token's, the mean, or
    a mean weighted by a learned query."""
    layers: Literal[1, 2] = 1
    """1: linear; 2: linear, tanh, linear."""
    dropout: Fraction = 0.0
    """Dropout on the pooled embedding, in training."""
    init: Literal["random", "frozen"] = "random"
    """``frozen``: start from logistic regression on the frozen model's embeddings (linear head with
    ``last`` or ``mean`` pooling)."""

    @model_validator(mode="after")
    def _init_fits(self) -> HeadConfig:
        if self.init == "frozen" and (self.layers != 1 or self.pooling == "attention"):
            raise ValueError("init: frozen needs layers: 1 and pooling: last or mean")
        return self


class TrainingConfig(Section):
    """The training loop, the same for all neural approaches."""

    seed: int = 0
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 8
    """Rows in one forward pass, on each process."""
    accumulation: PositiveInt = 1
    """Forward passes in one optimiser step."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak rate of the adapter."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate of the head. Unset: ``learning_rate``."""
    weight_decay: NonNegative = 0.01
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay to zero after the warm-up."""
    warmup: Fraction = 0.06
    """Share of the steps in which the rate rises linearly from zero."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """``adamw_8bit`` (bitsandbytes) keeps its state in 8 bits."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """``cross_entropy`` is binary cross-entropy a label when multi-label. ``focal``:
    arXiv 1708.02002."""
    focal_gamma: NonNegative = 2.0
    """How much ``focal`` turns from easy rows to hard ones; 0 is plain cross-entropy."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced``: weights inversely proportional to label frequency in the training rows."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    evaluations_per_epoch: PositiveInt = 1
    """Validations in an epoch; each may become the best checkpoint."""
    patience: int = Field(default=2, ge=0)
    """Stop after this many validations without a better metric; 0: never."""
    metric: Literal["macro_f1", "micro_f1"] = "macro_f1"
    """Validation metric that chooses the best checkpoint and stops early; equal ones are told apart
    by the validation loss."""
    checkpoint_seconds: NonNegative = 60.0
    """At most this much training is lost when the process is killed; 0 saves after every step."""


class EvaluateConfig(Section):
    """Figures on the test rows."""

    batch_size: PositiveInt = 16
    """Texts in one forward pass."""
    bootstrap: PositiveInt = 2000
    """Resamples for the confidence intervals."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the confidence intervals."""
    bins: PositiveInt = 15
    """Bins of the calibration error."""
    seed: int = 0


class RegisterConfig(Section):
    """The registered model and the gate in front of it."""

    name: str | None = Field(default=None, max_length=100, pattern=NAME)
    """Registered model. Unset: the recipe's name."""
    floor: dict[str, float] = {}
    """Least values of test metrics (``{macro_f1: 0.8}``)."""
    significance: float = Field(default=0.05, gt=0, lt=1)
    """Level at which being worse than the champion on the same rows refuses promotion."""


class TrackingConfig(Section):
    """Where runs and models are logged. Credentials come from the environment, never from here."""

    uri: str | None = None
    """MLflow tracking URI. Unset: ``MLFLOW_TRACKING_URI``, else SQLite in the runs directory."""
    experiment: str | None = None
    """MLflow experiment. Unset: the recipe's name."""


class Recipe(Section):
    """Everything one pipeline execution needs."""

    name: str = Field(max_length=100, pattern=NAME)
    """The task. Names the MLflow experiment and the registered model."""
    ingest: IngestConfig
    base: BaseModelConfig
    tokenize: TokenizeConfig = TokenizeConfig()
    lora: LoraConfig = LoraConfig()
    head: HeadConfig = HeadConfig()
    training: TrainingConfig = TrainingConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    registry: RegisterConfig = RegisterConfig()
    tracking: TrackingConfig = TrackingConfig()


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


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from YAML.

    Args:
        path: the YAML file.
        overrides: dotted keys to values (``{"training.seed": 1}``), applied before validation.

    Raises:
        UserError: for a missing file, broken YAML or invalid settings.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping of sections; see pipelines/recipes/")
    return parse_recipe(data, overrides or {}, str(path))


def parse_recipe(data: dict[str, Any], overrides: dict[str, Any], where: str) -> Recipe:
    """A recipe from plain data; arguments and errors as :func:`load_recipe`."""
    for key, value in overrides.items():
        _set(data, key, value)
    return parse(Recipe, data, where)


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, leaf = dotted.split(".")
    for part in parents:
        child = data.setdefault(part, {})
        if not isinstance(child, dict):
            raise UserError(f"cannot set {dotted}: {part} is not a section")
        data = child
    data[leaf] = value
