"""Every setting: typed, validated and documented where it is declared.

A recipe (YAML) is one :class:`Recipe`; each section is what one step of the pipeline reads.
Unknown keys are refused, so a misspelt setting never passes silently.
"""

from llmclf_core.config.cluster import ClusterConfig
from llmclf_core.config.data import (
    DuplicateConfig,
    IngestConfig,
    LabelColumns,
    SourceFormat,
    SplitConfig,
)
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
    Pooling,
    ProbeConfig,
    TfidfConfig,
    TokenizeConfig,
)
from llmclf_core.config.recipe import (
    APPROACHES,
    Approach,
    Recipe,
    load_recipe,
    parse_recipe,
    tokenize_settings,
)
from llmclf_core.config.sections import Section, parse
from llmclf_core.config.training import EncoderTrainingConfig, TrainingConfig

__all__ = [
    "APPROACHES",
    "Approach",
    "BaseModelConfig",
    "ClusterConfig",
    "CompareConfig",
    "DuplicateConfig",
    "EncoderConfig",
    "EncoderTrainingConfig",
    "EvaluateConfig",
    "HeadConfig",
    "IngestConfig",
    "InstructConfig",
    "LabelColumns",
    "LoraConfig",
    "Pooling",
    "ProbeConfig",
    "Recipe",
    "RegisterConfig",
    "Section",
    "SourceFormat",
    "SplitConfig",
    "TfidfConfig",
    "TokenizeConfig",
    "TrackingConfig",
    "TrainingConfig",
    "load_recipe",
    "parse",
    "parse_recipe",
    "tokenize_settings",
]
