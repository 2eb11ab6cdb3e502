"""Frozen embeddings: right, resumable, and a full disk is a message."""

import numpy as np
import pytest
import torch

from llmclf_core.config import BaseModelConfig, HeadConfig
from llmclf_core.errors import UserError
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import ClassificationHead, HeadModel

SEQUENCES = [list(range(5, 5 + n)) for n in (3, 17, 1, 9, 2, 30, 8)]


@pytest.fixture(scope="module")
def backbone(tiny_base):
    return load_backbone(
        resolve(str(tiny_base)), BaseModelConfig(source=str(tiny_base)), torch.float32
    )


@pytest.fixture(params=["last", "mean", "attention"])
def model(request, backbone):
    torch.manual_seed(0)
    return HeadModel(backbone, ClassificationHead(64, 3, HeadConfig(pooling=request.param)))


@pytest.fixture
def forwards(monkeypatch):
    """The batches that really went through the model."""
    seen = []
    plain = HeadModel.hidden_states

    def spy(self, ids, mask):
        seen.append(mask.sum(1).tolist())
        return plain(self, ids, mask)

    monkeypatch.setattr(HeadModel, "hidden_states", spy)
    return seen


def direct(model, sequence):
    with torch.inference_mode():
        hidden = model.backbone(input_ids=torch.tensor([sequence])).last_hidden_state[0]
    return (hidden[-1] if model.head.pooling.kind == "last" else hidden.mean(0)).numpy()


def test_equals_direct_computation(model, tmp_path):
    found = pooled_embeddings(model, SEQUENCES, 2, 3, tmp_path / "new" / "e.npy")
    assert found.shape == (7, 64)
    assert found.dtype == np.float32
    for row, sequence in zip(found, SEQUENCES, strict=True):
        np.testing.assert_allclose(row, direct(model, sequence), atol=1e-5)


def test_dropout_is_off(model, tmp_path):
    model.train()
    a = pooled_embeddings(model, SEQUENCES, 2, 3, tmp_path / "a.npy")
    assert np.array_equal(a, pooled_embeddings(model, SEQUENCES, 2, 3, tmp_path / "b.npy"))
    assert not model.training


@pytest.mark.parametrize("model", ["last"], indirect=True)
def test_finished_rows_are_not_computed_again(model, tmp_path, forwards):
    store = tmp_path / "e.npy"
    first = pooled_embeddings(model, SEQUENCES, 2, 2, store)
    assert len(forwards) == 4
    assert np.array_equal(pooled_embeddings(model, SEQUENCES, 2, 2, store), first)
    assert len(forwards) == 4


@pytest.mark.parametrize("model", ["last"], indirect=True)
@pytest.mark.parametrize("columns", [slice(None), slice(32, None)], ids=["row", "half a row"])
def test_broken_rows_are_computed_again(model, tmp_path, forwards, columns):
    store = tmp_path / "e.npy"
    first = pooled_embeddings(model, SEQUENCES, 2, 2, store)
    stored = np.load(store)
    stored[3, columns] = np.nan  # of length 9, in one batch with the one of length 8
    stored[0] = 7.0  # finished, and nobody's business any more
    np.save(store, stored)
    forwards.clear()
    second = pooled_embeddings(model, SEQUENCES, 2, 2, store)
    assert forwards == [[9, 8]]
    assert np.array_equal(np.delete(second, 0, 0), np.delete(first, 0, 0))
    assert (second[0] == 7.0).all()


@pytest.mark.parametrize("model", ["last"], indirect=True)
def test_goes_on_after_a_kill(model, tmp_path, monkeypatch, forwards):
    store, plain = tmp_path / "e.npy", HeadModel.hidden_states

    def dies(self, ids, mask):
        if len(forwards) == 2:
            raise KeyboardInterrupt
        return plain(self, ids, mask)

    with monkeypatch.context() as patch:
        patch.setattr(HeadModel, "hidden_states", dies)
        with pytest.raises(KeyboardInterrupt):
            pooled_embeddings(model, SEQUENCES, 2, 2, store)
    assert np.isnan(np.load(store)[:, 0]).sum() == 3
    resumed = pooled_embeddings(model, SEQUENCES, 2, 2, store)
    assert len(forwards) == 4
    assert np.array_equal(resumed, pooled_embeddings(model, SEQUENCES, 2, 2, tmp_path / "f.npy"))


@pytest.mark.parametrize("model", ["last"], indirect=True)
def test_unwritable_store(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/e\.npy"):
        pooled_embeddings(model, SEQUENCES, 2, 2, tmp_path / "file" / "e.npy")


@pytest.mark.parametrize("model", ["last"], indirect=True)
def test_full_disk(model, small_disk):
    with pytest.raises(UserError, match=r"cannot write .*e\.npy: the disk is full"):
        pooled_embeddings(model, SEQUENCES * 100, 2, 2, small_disk / "e.npy")
    assert not (small_disk / "e.npy").exists()
