"""Settings of models: the pretrained one, its tokenizer, its adapter, and each approach's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from llmclf_core.config.sections import Fraction, PositiveInt, Section
from llmclf_core.config.training import EncoderTrainingConfig, TrainingConfig

Regularisations = list[Annotated[float, Field(gt=0)]]

Pooling = Literal["last", "mean", "attention"]


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


class InstructConfig(Section):
    """Instruction tuning: the model answers a prompt with the words of a label."""

    prompt: str | None = None
    """The user's turn, with ``{labels}`` and ``{text}``, once each, to be filled in. What stands
    before ``{text}`` is computed once for all texts, so put the text late. Unset: a plain request
    for the one label, or for all that apply, a line each."""
    system: str | None = None
    """The system's turn, with a chat template. Unset: what the template has of its own."""
    chat: Literal["auto", "template", "plain"] = "auto"
    """``template``: the model's chat template; ``plain``: the prompt, then ``Answer:``. ``auto``:
    the template when the model has one."""
    verbalizer: Literal["label", "number", "letter"] | dict[str, str] = "label"
    """What the model writes for a label: its name, its number from 1, a letter (A, B, … Z, AA, …),
    or your own words (``{label: word}``)."""
    length_normalization: bool = False
    """Divide a label's log-likelihood by its number of tokens (single-label): long names are not
    at a loss against short ones, but the scores are no longer the model's own probabilities."""
    search_steps: PositiveInt = 64
    """Most partial answers that are looked into for the best set of labels of a text (multi-label);
    the search is exact when it ends before."""
    tokenize: TokenizeConfig | None = None
    """Settings that differ from the recipe's ``tokenize``, as ``lora`` and ``training`` do."""
    lora: LoraConfig | None = None
    training: TrainingConfig | None = None

    @field_validator("prompt")
    @classmethod
    def _has_places(cls, prompt: str | None) -> str | None:
        if prompt is not None and any(prompt.count(p) != 1 for p in ("{labels}", "{text}")):
            raise ValueError("a prompt names {labels} and {text}, once each")
        return prompt


class EncoderConfig(Section):
    """A fine-tuned BERT-like encoder, the paper's baseline."""

    base: BaseModelConfig = BaseModelConfig(source="google-bert/bert-base-uncased")
    """Any encoder that transformers knows."""
    tokenize: TokenizeConfig = TokenizeConfig()
    """Truncation; ``append_eos`` has no use here."""
    lora: LoraConfig | None = None
    """Unset: all weights are trained."""
    training: EncoderTrainingConfig = EncoderTrainingConfig()
    """The loop; its rates suit a fine-tuning of all weights."""


class TfidfConfig(Section):
    """TF-IDF and logistic regression, the baseline that costs seconds."""

    max_ngram: PositiveInt = 2
    """Longest word sequence that is a feature."""
    min_rows: PositiveInt = 2
    """Features in fewer training rows are dropped."""
    max_features: PositiveInt = 500_000
    """The most frequent ones are kept."""
    lowercase: bool = True
    """Read capitals as small letters."""
    sublinear: bool = True
    """Use 1 + log of a count."""
    c: Regularisations = Field(default=[1.0, 10.0, 100.0], min_length=1)
    """Inverse regularisations; the best on the validation rows is taken."""


class ProbeConfig(Section):
    """Logistic regression on the frozen base model's embeddings."""

    pooling: Literal["last", "mean"] = "mean"
    """Which hidden states are pooled."""
    c: Regularisations = Field(default=[0.01, 0.1, 1.0], min_length=1)
    """Inverse regularisations on standardised embeddings; the best on the validation rows is
    taken."""
