import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from llmclf_core.config import TrainingConfig
from llmclf_core.training.losses import balanced_weights, row_losses

PLAIN = TrainingConfig()
FOCAL = TrainingConfig(loss="focal")


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 4, requires_grad=True)


def one_hot(*labels):
    return F.one_hot(torch.tensor(labels), 4).float()


SINGLE = one_hot(0, 1, 2, 3, 0, 1)
MULTI = torch.tensor([[1, 0, 1, 0]] * 3 + [[0, 0, 0, 0]] * 3).float()
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


def test_single_is_cross_entropy(logits):
    for weights in (None, WEIGHTS):
        expected = F.cross_entropy(logits, SINGLE.argmax(1), weight=weights, reduction="none")
        torch.testing.assert_close(row_losses(logits, SINGLE, "single", PLAIN, weights), expected)


def test_multi_is_binary_cross_entropy(logits):
    for weights in (None, WEIGHTS):
        expected = F.binary_cross_entropy_with_logits(
            logits, MULTI, pos_weight=weights, reduction="none"
        ).mean(1)
        torch.testing.assert_close(row_losses(logits, MULTI, "multi", PLAIN, weights), expected)


def test_focal_equals_its_formula(logits):
    p = logits.softmax(1).gather(1, SINGLE.argmax(1, keepdim=True)).squeeze(1)
    expected = -((1 - p) ** 2) * p.log()
    torch.testing.assert_close(row_losses(logits, SINGLE, "single", FOCAL, None), expected)
    p = torch.where(MULTI == 1, logits.sigmoid(), 1 - logits.sigmoid())
    expected = (-((1 - p) ** 2) * p.log()).mean(1)
    torch.testing.assert_close(row_losses(logits, MULTI, "multi", FOCAL, None), expected)


def test_focal_without_gamma_is_cross_entropy(logits):
    zero = TrainingConfig(loss="focal", focal_gamma=0)
    expected = row_losses(logits, SINGLE, "single", PLAIN, None)
    torch.testing.assert_close(row_losses(logits, SINGLE, "single", zero, None), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize(("task", "truth"), [("single", one_hot(0)), ("multi", one_hot(0))])
def test_gradient_is_finite_where_the_model_is_certain(task, truth, gamma):
    config = TrainingConfig(loss="focal", focal_gamma=gamma)
    for scale in (60.0, -60.0):
        logits = torch.tensor([[scale, -scale, -scale, -scale]], requires_grad=True)
        row_losses(logits, truth, task, config, None).sum().backward()
        assert torch.isfinite(logits.grad).all()


def test_balanced_weights():
    truth = np.eye(3, dtype=np.int8)[[0, 0, 0, 1, 1, 2]]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=truth.argmax(1))
    np.testing.assert_allclose(balanced_weights(truth, "single"), expected, rtol=1e-6)
    np.testing.assert_allclose(balanced_weights(truth, "multi"), [1.0, 2.0, 5.0])


def test_balanced_weight_of_an_absent_or_rare_label_is_bounded():
    truth = np.zeros((1000, 2), dtype=np.int8)
    truth[0, 0] = 1
    assert balanced_weights(truth, "multi").tolist() == [100.0, 100.0]
    assert torch.isfinite(balanced_weights(truth, "single")).all()
