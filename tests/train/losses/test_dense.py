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


def test_silog_pools_the_pixels_of_the_whole_batch() -> None:
    """Two images of opposite scale errors: each alone has no variance, both together have a lot."""
    truth = torch.full((2, 6, 6), 2.0, dtype=torch.float64)
    prediction = truth * torch.tensor([2.0, 0.5], dtype=torch.float64).view(2, 1, 1)
    variance = np.log(2) ** 2 * 72 / 71
    assert float(depth_loss(prediction, truth)) == pytest.approx(10 * variance**0.5, rel=1e-6)
    alone = float(depth_loss(prediction[:1], truth[:1]))
    assert alone == pytest.approx(10 * 0.15**0.5 * np.log(2), rel=1e-6)


def test_single_precision_is_as_good_as_double() -> None:
    prediction, truth = maps()
    assert float(depth_loss(prediction.float(), truth.float())) == pytest.approx(
        float(depth_loss(prediction, truth)), rel=1e-5
    )


def test_a_batch_without_images_costs_nothing() -> None:
    prediction = torch.zeros(0, 8, 8, requires_grad=True)
    loss = depth_loss(prediction, torch.zeros(0, 8, 8))
    loss.backward()
    assert loss == 0
    assert prediction.grad is not None


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


def test_two_classes_are_binary_cross_entropy_of_the_probability_map() -> None:
    """Of saliency and edges, in double precision: -ln p where the label is 1, -ln(1 - p) where it is 0."""
    logits, labels = torch.randn(2, 2, 4, 6), torch.randint(2, (2, 16, 24))
    labels[:, 3:5] = IGNORE
    full = functional.interpolate(logits.double(), size=(16, 24), mode="bilinear").numpy()
    probability = 1 / (1 + np.exp(full[:, 0] - full[:, 1]))
    truth = labels.numpy()
    known = truth != IGNORE
    expected = -np.log(np.where(truth == 1, probability, 1 - probability))[known].mean()
    assert float(cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch", [0, 2])
def test_a_batch_without_known_pixels_is_worth_nothing(batch: int) -> None:
    logits = torch.randn(batch, 5, 4, 4, requires_grad=True)
    loss = segmentation_loss({"logits": logits}, torch.full((batch, 16, 16), IGNORE))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()
