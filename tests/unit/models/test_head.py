"""Pooling and head, on the tiny model and on the real one against Hugging Face's own class."""

import pytest
import torch
from torch import nn

from llmclf_core.config import HeadConfig
from llmclf_core.models.head import ClassificationHead, HeadModel, Pooling, last_token, mean
from llmclf_core.tokens.batching import pad

CPU = torch.device("cpu")


def left_pad(sequences, pad_id):
    ids, mask = pad(sequences, pad_id, CPU)
    width = ids.shape[1]
    for i, sequence in enumerate(sequences):
        ids[i] = torch.tensor([pad_id] * (width - len(sequence)) + list(sequence))
        mask[i] = torch.tensor([0] * (width - len(sequence)) + [1] * len(sequence))
    return ids, mask


PADDINGS = {"right": lambda s, p: pad(s, p, CPU), "left": left_pad}


@pytest.mark.parametrize("side", PADDINGS)
def test_last_token_is_the_last_attended_one(side):
    _, mask = PADDINGS[side]([[1, 2, 3], [4]], 0)
    hidden = torch.arange(6.0).reshape(2, 3, 1)
    expected = {"right": [2.0, 3.0], "left": [2.0, 5.0]}[side]
    assert last_token(hidden, mask).flatten().tolist() == expected


def test_mean_ignores_padding():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert mean(hidden, torch.tensor([[1, 1, 0]])).item() == 2.0


def test_attention_starts_as_the_mean_and_ignores_padding():
    hidden = torch.randn(3, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1] * 5, [0, 0, 0, 0, 1]])
    pooling = Pooling("attention", 8)
    torch.testing.assert_close(pooling(hidden, mask), mean(hidden, mask))
    nn.init.normal_(pooling.query)
    changed = hidden.clone()
    changed[mask == 0] = 1e6
    torch.testing.assert_close(pooling(hidden, mask), pooling(changed, mask))


def test_attention_equals_its_formula():
    hidden, mask = torch.randn(1, 4, 8), torch.tensor([[1, 1, 1, 0]])
    pooling = Pooling("attention", 8)
    nn.init.normal_(pooling.query)
    weights = torch.softmax(hidden[0, :3] @ pooling.query / 8**0.5, dim=0)
    torch.testing.assert_close(pooling(hidden, mask)[0], weights @ hidden[0, :3])


def test_two_layer_head_has_tanh_between():
    head = ClassificationHead(4, 3, HeadConfig(layers=2))
    hidden, mask = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.int64)
    expected = head.out(torch.tanh(head.dense(hidden[:, -1])))
    torch.testing.assert_close(head(hidden, mask), expected)


def with_reference(directory, n_labels=5, pad_id=2):
    """Hugging Face's sequence classifier, and ours on the same weights."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    reference = AutoModelForSequenceClassification.from_pretrained(
        directory, num_labels=n_labels, dtype=torch.float32, pad_token_id=pad_id
    ).eval()
    ours = HeadModel(
        reference.model, ClassificationHead(reference.config.hidden_size, n_labels, HeadConfig())
    ).eval()
    with torch.no_grad():
        ours.head.out.weight.copy_(reference.score.weight)
    return reference, ours


def compare_with_hugging_face(directory, sequences, side):
    reference, ours = with_reference(directory)
    ids, mask = PADDINGS[side](sequences, 2)
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(ours(ids, mask), expected, atol=1e-4, rtol=0)


SEQUENCES = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]


@pytest.mark.parametrize("side", PADDINGS)
def test_logits_equal_hugging_face(tiny_base, side):
    compare_with_hugging_face(tiny_base, SEQUENCES, side)


@pytest.mark.assets
@pytest.mark.parametrize("side", PADDINGS)
def test_logits_equal_hugging_face_on_real_weights(smollm2, side):
    from llmclf_core.config import TokenizeConfig
    from llmclf_core.models.base import resolve
    from llmclf_core.tokens.encode import Encoder

    base = resolve(str(smollm2))
    texts = ["Shares fell sharply.", "The team won the cup after extra time.", "A song"]
    sequences = [e.ids for e in Encoder(base.directory, TokenizeConfig()).encode(texts)]
    compare_with_hugging_face(base.directory, sequences, side)


@pytest.mark.parametrize("side", PADDINGS)
def test_text_that_ends_in_the_pad_token(tiny_base, side):
    """Hugging Face skips a final eos that equals pad; here a row gives what it gives alone."""
    _, ours = with_reference(tiny_base)
    sequences = [[5, 6, 2], [7, 8, 9, 10, 2, 2], [2]]
    ids, mask = PADDINGS[side](sequences, 2)
    with torch.inference_mode():
        batched = ours(ids, mask)
        for i, sequence in enumerate(sequences):
            alone = torch.tensor([sequence])
            expected = ours(alone, torch.ones_like(alone))[0]
            torch.testing.assert_close(batched[i], expected, atol=1e-5, rtol=0)
