"""Masks at points: sampling, costs and losses against `transformers` and plain float64 loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former import modeling_mask2former as theirs

from argus_edge.train.losses.masks import (
    PointSettings,
    bce_loss,
    dice_loss,
    mask_costs,
    mask_losses,
    pairwise_bce,
    pairwise_dice,
    sample_masks,
    sample_truth,
    uncertain_points,
)

SETTINGS = PointSettings(points=40)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(answer: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(answer, expected.to(answer.dtype), rtol=1e-5, atol=0)


def bilinear(mask: Tensor, x: float, y: float) -> float:
    """One sample of mask (H, W) at (x, y) in [0, 1]; cells have their centres at halves, outside is 0."""
    height, width = mask.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < height and 0 <= j < width:
                total += float(mask[i, j]) * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def cross_entropy(logit: float, truth: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -truth * math.log(probability) - (1 - truth) * math.log1p(-probability)


@pytest.mark.parametrize("shared", [True, False])
def test_samples_are_bilinear(shared: bool) -> None:
    masks = torch.randn(3, 5, 8, dtype=torch.float64)
    points = torch.rand(1 if shared else 3, 12, 2, dtype=torch.float64)
    points[0, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 1.0]])
    own = not shared
    answer = sample_masks(masks[:, None], points)[:, 0] if own else sample_masks(masks[None], points)[0]
    for n in range(3):
        for p in range(12):
            x, y = points[0 if shared else n, p].tolist()
            assert float(answer[n, p]) == pytest.approx(bilinear(masks[n], x, y), rel=1e-9, abs=1e-12)
    expected = theirs.sample_point(masks[:, None], points.expand(3, -1, -1), align_corners=False)
    close(answer, expected[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairwise_costs_are_mask2former_s(dtype: torch.dtype) -> None:
    logits, truth = torch.randn(5, 30, dtype=dtype) * 4, torch.rand(3, 30, dtype=dtype)
    bce, dice = pairwise_bce(logits, truth), pairwise_dice(logits, truth)
    close(bce, theirs.pair_wise_sigmoid_cross_entropy_loss(logits, truth))
    close(dice, theirs.pair_wise_dice_loss(logits, truth))
    for q in range(5):
        for m in range(3):
            pairs = list(zip(logits[q].tolist(), truth[m].tolist(), strict=True))
            assert float(bce[q, m]) == pytest.approx(sum(cross_entropy(*p) for p in pairs) / 30, rel=1e-5)
            probability = [1 / (1 + math.exp(-logit)) for logit, _ in pairs]
            overlap = sum(p * t for p, (_, t) in zip(probability, pairs, strict=True))
            expected = 1 - (2 * overlap + 1) / (sum(probability) + sum(t for _, t in pairs) + 1)
            assert float(dice[q, m]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_mask2former_s_and_the_diagonal_of_the_costs(dtype: torch.dtype) -> None:
    logits, truth = torch.randn(6, 30, dtype=dtype) * 4, torch.rand(6, 30, dtype=dtype)
    close(bce_loss(logits, truth), theirs.sigmoid_cross_entropy_loss(logits, truth, 1))
    close(dice_loss(logits, truth), theirs.dice_loss(logits, truth, 1))
    close(bce_loss(logits, truth), pairwise_bce(logits, truth).diagonal().sum())
    close(dice_loss(logits, truth), pairwise_dice(logits, truth).diagonal().sum())


def test_uncertain_points_are_mask2former_s() -> None:
    logits = torch.randn(3, 8, 12, dtype=torch.float64)
    config = Mask2FormerConfig(train_num_points=SETTINGS.points)
    loss = theirs.Mask2FormerLoss(config, {})
    torch.manual_seed(5)
    points = uncertain_points(logits.float(), SETTINGS)
    torch.manual_seed(5)
    expected = loss.sample_points_using_uncertainty(
        logits.float()[:, None], loss.calculate_uncertainty, SETTINGS.points, 3, 0.75
    )
    assert torch.equal(points, expected)


def test_true_masks_are_sampled_where_they_lie() -> None:
    """As numbers and with every named mask copied it is the same, beyond the border, too."""
    masks, of = torch.rand(4, 12, 20) > 0.5, torch.tensor([2, 0, 2, 2, 3])
    points = torch.rand(5, 50, 2) * 1.2 - 0.1
    expected = sample_masks(masks[of][:, None].float(), points)[:, 0]
    torch.testing.assert_close(sample_truth(masks, of, points), expected)


def test_costs_of_a_batch_are_those_of_its_images() -> None:
    """Padding of the images with fewer objects touches nobody else's costs, nor whose points are drawn."""
    logits = torch.randn(3, 6, 8, 8)
    masks = [torch.rand(count, 32, 32) > 0.5 for count in (2, 0, 4)]
    together = mask_costs(logits, masks, 40, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    for image, own in enumerate(masks):
        alone = mask_costs(logits[image : image + 1], [own], 40, generator)
        for all_costs, costs in zip(together, alone, strict=True):
            assert all_costs.shape == (3, 6, 4)
            torch.testing.assert_close(all_costs[image, :, : len(own)], costs[0])


def test_three_quarters_of_the_points_are_uncertain() -> None:
    logits = torch.linspace(-50, 50, 101).expand(2, 20, 101)  # 0 in the middle column
    points = uncertain_points(logits, PointSettings(400))
    assert points.shape == (2, 400, 2)
    assert 0 <= points.min() < points.max() <= 1
    distance = (points[..., 0] - 0.5).abs()
    # The nearest 300 of 1200 candidates fill a quarter of the width; at corners, too, samples fade to 0.
    assert (distance[:, :300] < 0.16).float().mean() > 0.98
    assert (distance[:, 300:] > 0.25).float().mean() == pytest.approx(0.5, abs=0.15)


def test_points_come_from_the_generator() -> None:
    logits, masks = torch.randn(3, 8, 8), torch.rand(3, 16, 16) > 0.5
    every = torch.arange(3)
    first, again, other = (
        mask_losses(logits, masks, every, SETTINGS, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    costs = [mask_costs(logits[None], [masks], 40, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(costs[0][0], costs[1][0])
    assert not torch.equal(costs[0][0], costs[2][0])


def test_perfect_masks_cost_least() -> None:
    """Also at four times the resolution of the logits, since points are in shares of the image."""
    masks = torch.zeros(3, 32, 32, dtype=torch.bool)
    masks[0, :16], masks[1, :, 16:], masks[2, 8:24, 8:24] = True, True, True
    logits = masks[:, 2::4, 2::4].float() * 60 - 30
    bce, dice = (cost[0] for cost in mask_costs(logits[None], [masks], 500))
    assert bce.argmin(0).tolist() == bce.argmin(1).tolist() == [0, 1, 2]
    assert dice.argmin(0).tolist() == dice.argmin(1).tolist() == [0, 1, 2]
    assert float(dice.diagonal().max()) < 0.2 < 0.3 < float(dice[~torch.eye(3, dtype=torch.bool)].min())


@pytest.mark.parametrize("area", ["none", "all"])
def test_masks_without_area_or_without_rest_have_finite_losses(area: str) -> None:
    logits = (torch.randn(2, 8, 8) * 100).requires_grad_()
    masks = torch.full((2, 16, 16), area == "all")
    bce, dice = mask_losses(logits, masks, torch.arange(2), SETTINGS)
    (bce + dice).backward()
    assert torch.isfinite(bce)
    assert 0 <= dice <= 2
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert all(torch.isfinite(cost).all() for cost in mask_costs(logits.detach()[None], [masks], 40))


def test_without_masks_losses_are_zero_and_costs_empty() -> None:
    logits = torch.randn(2, 8, 8, requires_grad=True)
    bce, dice = mask_losses(logits[:0], torch.zeros(0, 16, 16).bool(), torch.arange(0), SETTINGS)
    (bce + dice).backward()
    assert bce == dice == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    costs = mask_costs(logits.detach()[None], [torch.zeros(0, 16, 16, dtype=torch.bool)], 40)
    assert [tuple(cost.shape) for cost in costs] == [(1, 2, 0), (1, 2, 0)]


def test_the_losses_gradient_agrees_with_finite_differences() -> None:
    logits = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    truth = torch.rand(2, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: bce_loss(x, truth) + dice_loss(x, truth), (logits,))
