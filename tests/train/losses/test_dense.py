"""Depth and segmentation losses against plain numpy in double precision, and where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from argus_edge.train.losses.depth import depth_loss, gradient_matching, silog
from argus_edge.train.losses.segmentation import IGNORE, cross_entropy, segmentation_loss


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def maps(batch: int = 2, height: int = 13, width: int = 17) -> tuple[Tensor, Tensor]:
    """Predicted and true depth [m], a fifth of the truth unknown."""
    truth = torch.rand(batch, height, width, dtype=torch.float64) * 9 + 0.5
    prediction = truth * torch.exp(torch.randn_like(truth) * 0.3)
    return prediction, torch.where(torch.rand_like(truth) < 0.2, torch.zeros_like(truth), truth)


def gradients_by_loop(error: np.ndarray, valid: np.ndarray) -> float:
    total = 0.0
    for step in (1, 2, 4, 8):
        for axis in (1, 2):
            differences = []
            for b in range(error.shape[0]):
                for y in range(0, error.shape[1], step):
                    for x in range(0, error.shape[2], step):
                        y2, x2 = (y + step, x) if axis == 1 else (y, x + step)
                        inside = y2 < error.shape[1] and x2 < error.shape[2]
                        if inside and valid[b, y, x] and valid[b, y2, x2]:
                            differences.append(abs(error[b, y2, x2] - error[b, y, x]))
            total += float(np.mean(differences)) if differences else 0.0
    return total


def test_silog_is_adabins_form() -> None:
    g = np.random.default_rng(0).normal(0.2, 0.5, 400)
    expected = 10 * np.sqrt(np.var(g, ddof=1) + 0.15 * np.mean(g) ** 2)
    assert float(silog(torch.from_numpy(g))) == pytest.approx(expected, rel=1e-6)
    focused = 10 * np.sqrt(np.var(g, ddof=1) + np.mean(g) ** 2 - 0.85 * np.mean(g) ** 2)
    assert expected == pytest.approx(focused)


def test_silog_forgives_most_of_a_wrong_scale() -> None:
    """A factor on all depths costs sqrt(0.15) of its logarithm."""
    assert float(silog(torch.full((50,), 0.4))) == pytest.approx(10 * 0.15**0.5 * 0.4, rel=1e-5)


def test_gradient_matching_is_the_loop() -> None:
    prediction, truth = maps()
    valid = truth > 0
    error = torch.where(valid, prediction.log() - truth.clamp(min=1e-6).log(), torch.zeros_like(truth))
    expected = gradients_by_loop(error.numpy(), valid.numpy())
    assert float(gradient_matching(error, valid)) == pytest.approx(expected, rel=1e-6)
    assert float(gradient_matching(torch.ones_like(error), valid)) == 0


def test_depth_loss_sums_both_and_ignores_what_has_no_truth() -> None:
    prediction, truth = maps()
    valid = truth > 0
    known = valid.numpy()
    error = np.where(known, np.log(prediction.numpy()) - np.log(np.where(known, truth.numpy(), 1)), 0)
    g = error[known]
    expected = 10 * np.sqrt(g.var(ddof=1) + 0.15 * g.mean() ** 2) + 0.5 * gradients_by_loop(error, known)
    assert float(depth_loss(prediction, truth)) == pytest.approx(float(expected), rel=1e-6)
    changed = torch.where(valid, prediction, prediction * 7)
    assert float(depth_loss(changed, truth)) == float(depth_loss(prediction, truth))
    assert float(depth_loss(truth.clamp(min=1), truth.clamp(min=1))) == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_depth_loss_is_finite_however_little_is_known(known: int) -> None:
    prediction = (torch.rand(2, 8, 8) + 0.5).requires_grad_()
    truth = torch.zeros(2, 8, 8)
    truth[0, 0, :known] = 2
    loss = depth_loss(prediction, truth)
    loss.backward()
    assert prediction.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(prediction.grad).all()
    if known < 2:
        assert loss == 0
        assert not prediction.grad.any()


def test_a_perfect_depth_has_a_finite_gradient() -> None:
    prediction = (torch.rand(1, 8, 8) + 0.5).requires_grad_()
    depth_loss(prediction, prediction.detach().clone()).backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_cross_entropy_is_torch_s_mean_over_known_pixels() -> None:
    logits, labels = torch.randn(2, 5, 4, 6), torch.randint(5, (2, 16, 24))
    labels[:, :5] = IGNORE
    full = functional.interpolate(logits, size=(16, 24), mode="bilinear")
    expected = functional.cross_entropy(full.double(), labels, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels).double(), expected, rtol=1e-5, atol=1e-6)
    outputs = {"logits": logits, "auxiliary": logits.flip(1)}
    both = cross_entropy(logits, labels) + 0.4 * cross_entropy(logits.flip(1), labels)
    torch.testing.assert_close(segmentation_loss(outputs, labels), both)
    torch.testing.assert_close(segmentation_loss({"logits": logits}, labels), cross_entropy(logits, labels))


def test_a_batch_without_known_pixels_is_worth_nothing() -> None:
    logits = torch.randn(2, 5, 4, 4, requires_grad=True)
    loss = segmentation_loss({"logits": logits}, torch.full((2, 16, 16), IGNORE))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()
