"""The recipe: everything one pipeline execution needs, read from YAML."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, field_validator, model_validator

from llmclf_core.config.cluster import ClusterConfig
from llmclf_core.config.data import IngestConfig
from llmclf_core.config.judging import (
    CompareConfig,
    EvaluateConfig,
    RegisterConfig,
    TrackingConfig,
)
from llmclf_core.config.models import (
    BaseModelConfig,
    EncoderConfig,
    HeadConfig,
    InstructConfig,
    LoraConfig,
    ProbeConfig,
    TfidfConfig,
    TokenizeConfig,
)
from llmclf_core.config.sections import NAME, Section, parse
from llmclf_core.config.training import TrainingConfig
from llmclf_core.errors import UserError

Approach = Literal["tfidf", "probe", "encoder", "head", "instruct"]
APPROACHES: tuple[Approach, ...] = get_args(Approach)
"""From the cheapest to the dearest."""


class Recipe(Section):
    """Everything one pipeline execution needs."""

    name: str = Field(max_length=100, pattern=NAME)
    """The task. Names the MLflow experiment and the registered model."""
    ingest: IngestConfig
    approaches: list[Approach] = Field(default=list(APPROACHES), min_length=1)
    """What is trained and compared: ``tfidf``, ``probe``, ``encoder``, ``head``, ``instruct``."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    """Each neural approach is trained once for each; the others know no chance."""
    base: BaseModelConfig
    """The LLM of ``head``, ``instruct`` and ``probe``."""
    tokenize: TokenizeConfig = TokenizeConfig()
    """For the LLM; ``instruct`` may differ."""
    lora: LoraConfig = LoraConfig()
    """For the LLM; ``instruct`` may differ."""
    training: TrainingConfig = TrainingConfig()
    """For the LLM; ``instruct`` may differ."""
    head: HeadConfig = HeadConfig()
    instruct: InstructConfig = InstructConfig()
    """Prompt and answers."""
    encoder: EncoderConfig = EncoderConfig()
    """The BERT-like model, with a tokenizer and a training loop of its own."""
    tfidf: TfidfConfig = TfidfConfig()
    """Word features."""
    probe: ProbeConfig = ProbeConfig()
    """Logistic regression on frozen embeddings."""
    evaluate: EvaluateConfig = EvaluateConfig()
    compare: CompareConfig = CompareConfig()
    """Tests between approaches, and the choice of a champion."""
    registry: RegisterConfig = RegisterConfig()
    tracking: TrackingConfig = TrackingConfig()
    cluster: ClusterConfig = ClusterConfig()
    """GPUs, memory, retries on Kubernetes; a local run does not read it."""

    @field_validator("approaches", "seeds")
    @classmethod
    def _once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("each may stand here once")
        return values

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        """Settings that a section does not name are those of the section it goes by."""
        if not isinstance(data, dict):
            return data
        instruct, compare = data.get("instruct"), data.get("compare")
        if isinstance(instruct, dict):
            shared = ("tokenize", "lora", "training")
            data = data | {"instruct": instruct | _under(data, instruct, shared)}
        if isinstance(compare, dict):
            told = {name: compare[name] for name in ("metric", "texts") if name in compare}
            registry = data.get("registry", {})
            if isinstance(registry, dict):
                data = data | {"registry": told | registry}
        return data


def _under(data: dict[str, Any], own: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Sections inside ``own`` on top of those of the same name in ``data``."""
    return {
        name: data[name] | own[name]
        for name in names
        if isinstance(data.get(name), dict) and isinstance(own.get(name), dict)
    }


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from YAML.

    Args:
        path: the YAML file.
        overrides: dotted keys to values (``{"training.epochs": 1}``), applied before validation.

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


def tokenize_settings(
    approach: str, base: dict[str, Any], settings: dict[str, Any], own: dict[str, Any]
) -> tuple[BaseModelConfig, TokenizeConfig, InstructConfig | None]:
    """What the tokenize step needs for one approach.

    Args:
        approach: who will read the tokens.
        base: the recipe's section of that name.
        settings: the recipe's ``tokenize`` section.
        own: the approach's own section; its base, tokenize settings and prompt come first.

    Raises:
        UserError: for settings that do not fit.
    """
    if approach == "encoder":
        encoder = parse(EncoderConfig, own, "encoder")
        return encoder.base, encoder.tokenize, None
    base_config = parse(BaseModelConfig, base, "base")
    shared = parse(TokenizeConfig, settings, "tokenize")
    if approach != "instruct":
        return base_config, shared, None
    instruct = parse(InstructConfig, own, "instruct")
    return base_config, instruct.tokenize or shared, instruct
