"""Masks compared at points: sampling, costs of a matching, losses. Shared by Mask DINO and Mask2Former.

Source: Mask2Former (arXiv 2112.01527), section 3.3, with PointRend's uncertain points (arXiv 1912.08193).
Points are (x, y) in [0, 1] of the image, so predicted and true masks may differ in resolution. Every loss is
the sum over masks: the caller divides by the number of objects.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class MaskTargets:
    """The true segments of one image."""

    labels: Tensor  # (M,) int64
    masks: Tensor  # (M, H, W) bool


@dataclass(frozen=True)
class PointSettings:
    points: int = 12_544  # 112 * 112
    oversample: float = 3.0  # candidates per point
    importance: float = 0.75  # share of the points that are the least certain candidates; the rest is random


def points_of(logits: Tensor) -> int:
    """How many points tell masks (..., h, w) apart: the published number, or their cells if these are fewer.

    12,544 are meant for pictures of 1024 px; on 128 px they would look at each cell twelve times.
    """
    return min(PointSettings.points, logits.shape[-2] * logits.shape[-1])


def random_points(masks: int, points: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniform points (masks, points, 2) with device and dtype of `like`; `generator` on the CPU."""
    return torch.rand(masks, points, 2, generator=generator).to(like)


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (N, P) of floating-point masks (N, H, W) at points (N, P, 2), or (1, P, 2) for all."""
    if len(masks) == 0:
        return masks.new_zeros(0, points.shape[1])
    grid = (2 * points - 1).unsqueeze(1)
    if len(points) == 1:
        return functional.grid_sample(masks[None], grid, align_corners=False)[0, :, 0]
    return functional.grid_sample(masks[:, None], grid, align_corners=False)[:, 0, 0]


@torch.no_grad()
def uncertain_points(
    logits: Tensor, settings: PointSettings, generator: torch.Generator | None = None
) -> Tensor:
    """Points (N, P, 2), each mask's own, mostly where logits (N, h, w) are near 0."""
    candidates = random_points(len(logits), int(settings.points * settings.oversample), logits, generator)
    chosen = int(settings.points * settings.importance)
    best = sample_masks(logits, candidates).abs().topk(chosen, dim=1, largest=False).indices
    near = candidates.gather(1, best.unsqueeze(-1).expand(-1, -1, 2))
    return torch.cat([near, random_points(len(logits), settings.points - chosen, logits, generator)], dim=1)


def pairwise_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean binary cross entropy (Q, M) of every pair of logits (Q, P) and truth (M, P) in [0, 1]."""
    present, absent = functional.softplus(-logits), functional.softplus(logits)
    return (present @ truth.T + absent @ (1 - truth).T) / logits.shape[1]


def pairwise_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss (Q, M) of every pair of logits (Q, P) and truth (M, P) in [0, 1]."""
    probability = logits.sigmoid()
    sums = probability.sum(1)[:, None] + truth.sum(1)[None]
    return 1 - (2 * probability @ truth.T + 1) / (sums + 1)


def bce_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy of logits and truth (N, P): mean over points, sum over masks; 0 for N = 0."""
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1).sum()


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss of logits and truth (N, P), sum over masks; 0 for N = 0."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum(1)
    return (1 - (overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).sum()


@torch.no_grad()
def mask_costs(
    logits: Tensor,
    masks: Tensor,
    points: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross entropy and dice (Q, M) of logits (Q, h, w) and true masks (M, H, W), bool, of one image.

    Both are taken at the same random points for all masks.
    """
    where = random_points(1, points or points_of(logits), logits, generator)
    predicted, truth = sample_masks(logits, where), sample_masks(masks.to(logits.dtype), where)
    return pairwise_bce(predicted, truth), pairwise_dice(predicted, truth)


def mask_losses(
    logits: Tensor,
    masks: Tensor,
    settings: PointSettings | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross entropy and dice of logits (N, h, w) and their true masks (N, H, W), bool, each summed over N.

    Without masks both are 0, with a gradient of 0 for what `logits` was taken from.
    """
    if len(logits) == 0:
        return logits.sum(), logits.sum()
    where = uncertain_points(logits, settings or PointSettings(points_of(logits)), generator)
    predicted, truth = sample_masks(logits, where), sample_masks(masks.to(logits.dtype), where)
    return bce_loss(predicted, truth), dice_loss(predicted, truth)
