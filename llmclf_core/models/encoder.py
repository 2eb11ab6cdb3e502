"""Encoders (BERT and its kin) with a classification head: all weights trained, or an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from llmclf_core.config import BaseModelConfig
from llmclf_core.errors import UserError
from llmclf_core.labels import LabelSpace
from llmclf_core.models.base import Base, bare_model, checkpoint_class, load_pretrained
from llmclf_core.processes import device


class EncoderModel(nn.Module):
    """A sequence classifier of transformers.

    Weights that train are float32; with ``dtype`` bfloat16 the forward pass is autocast, since
    bfloat16 weights would swallow the small steps of a fine-tuning.

    Attributes:
        model: the transformers model.
        head: the parameters that the base does not have, by their names in ``model`` without an
            adapter.
    """

    def __init__(self, model: Any, head: dict[str, nn.Parameter], dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.head, self._dtype = model, head, dtype

    @property
    def backbone(self) -> Any:
        """The part below the head; with LoRA, its adapted self."""
        return getattr(self.model, self.model.base_model_prefix)

    def adapt(self, adapted: PeftModel) -> None:
        """Put the adapted backbone in the place of the plain one; the head goes on training."""
        setattr(self.model, self.model.base_model_prefix, adapted)
        for parameter in self.head.values():  # peft freezes a pooler in the backbone
            parameter.requires_grad_(True)

    def head_modules(self) -> list[str]:
        """Names, inside the backbone, of modules that belong to the head (a fresh pooler)."""
        prefix = f"{self.model.base_model_prefix}."
        inside = [n.removeprefix(prefix) for n in self.head if n.startswith(prefix)]
        return sorted({name.rpartition(".")[0] for name in inside})

    def head_names(self) -> set[str]:
        """Names of the head's parameters in this module as it is now."""
        ids = {id(parameter) for parameter in self.head.values()}
        return {name for name, parameter in self.named_parameters() if id(parameter) in ids}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask, both (batch, length), to logits (batch, n_labels), float32.

        Positions are the model's own business: some count from the pad id on.
        """
        with torch.autocast(
            input_ids.device.type, torch.bfloat16, enabled=self._dtype is torch.bfloat16
        ):
            output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return output.logits.float()  # type: ignore[no-any-return]


def load_encoder(
    base: Base, config: BaseModelConfig, labels: LabelSpace, pad_id: int, frozen: bool
) -> EncoderModel:
    """Load an encoder under a fresh head, or a fine-tuned one with its head.

    Args:
        base: the encoder; or where a whole fine-tuned model lies.
        config: quantisation, compute type (resolved) and attention.
        labels: named in the model's configuration.
        pad_id: the tokenizer's, for a configuration that has none.
        frozen: only the head trains (and the adapter that comes on it); else all weights.

    Raises:
        UserError: for a model that is no encoder, cannot be loaded or lacks weights below the head;
            NF4 without ``frozen``.
    """
    if config.quantization == "nf4" and not frozen:
        raise UserError(
            "encoder.base.quantization: weights in 4 bits cannot be trained; set encoder.lora, or "
            "quantization: none"
        )
    settings = _settings(base, labels, pad_id)
    dtype: torch.dtype = getattr(torch, config.dtype)
    with _no_load_report():  # it calls the head missing, which is as it should be
        model, info = load_pretrained(
            AutoModelForSequenceClassification,
            base,
            config,
            dtype if frozen else torch.float32,
            _head_layers(settings) if config.quantization == "nf4" else (),
            settings,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    fresh = info["missing_keys"] | {key for key, *_ in info["mismatched_keys"]}
    _check_whole(model, fresh, base)
    return _encoder(model, fresh, dtype, frozen).to(device()).eval()


def bare_encoder(base: Base, labels: LabelSpace, pad_id: int, frozen: bool) -> EncoderModel:
    """What :func:`load_encoder` makes, with weights of no meaning.

    The head is what a checkpoint of the architecture that ``config.json`` names would lack.
    """
    settings = _settings(base, labels, pad_id)
    model = AutoModelForSequenceClassification.from_config(settings)
    prefix = f"{model.base_model_prefix}."
    stored = bare_model(checkpoint_class(settings, AutoModelForMaskedLM), base.directory)
    there = {name.removeprefix(prefix) for name in stored.state_dict()}
    fresh = {name for name in model.state_dict() if name.removeprefix(prefix) not in there}
    return _encoder(model, fresh, torch.float32, frozen)


def _encoder(model: Any, fresh: set[str], dtype: torch.dtype, frozen: bool) -> EncoderModel:
    encoder = EncoderModel(model, _head(model, fresh), dtype)
    _set_trainable(encoder, frozen)
    return encoder


def _settings(base: Base, labels: LabelSpace, pad_id: int) -> Any:
    try:
        config = AutoConfig.from_pretrained(base.directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot load base model {base.source}: {error}") from None
    kind = type(config)
    if kind not in MODEL_FOR_MASKED_LM_MAPPING or (
        kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    ):
        raise UserError(
            f"encoder.base: {base.source} ({config.model_type}) is not an encoder; name one such "
            "as BERT, or train it with the head approach"
        )
    config.id2label = dict(enumerate(labels.names))
    config.label2id = {name: i for i, name in enumerate(labels.names)}
    config.problem_type = f"{labels.task}_label_classification"
    if config.pad_token_id is None:
        config.pad_token_id = pad_id
    return config


def _head_layers(settings: Any) -> list[str]:
    """Patterns of the modules that NF4 must not touch: whatever lies beside the backbone."""
    with torch.device("meta"):
        skeleton = AutoModelForSequenceClassification.from_config(settings)
    beside = [n for n, _ in skeleton.named_children() if n != skeleton.base_model_prefix]
    return [*beside, r".*\.pooler"]


def _check_whole(model: Any, fresh: set[str], base: Base) -> None:
    prefix = f"{model.base_model_prefix}."
    lacking = sorted(n for n in fresh if n.startswith(prefix) and ".pooler." not in n)
    if lacking:
        raise UserError(
            f"encoder.base: {base.source} lacks {len(lacking)} of the weights that its config.json "
            f"calls for, or has them in another shape ({lacking[0]} is one); give a whole "
            "checkpoint of this architecture"
        )


def _head(model: Any, fresh: set[str]) -> dict[str, nn.Parameter]:
    prefix = f"{model.base_model_prefix}."
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name in fresh or not name.startswith(prefix)
    }


def _set_trainable(encoder: EncoderModel, frozen: bool) -> None:
    encoder.requires_grad_(not frozen)
    for parameter in encoder.head.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def most_tokens(encoder: EncoderModel) -> int | None:
    """How many tokens the position table holds; None for positions that are computed.

    Tables with a padding row (RoBERTa's) begin after it, so the configuration says too much.
    """
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings"):
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - skipped
    return None


@contextmanager
def _no_load_report() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
