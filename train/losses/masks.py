"""Masks compared at points: sampling, costs of a matching, losses. Shared by Mask DINO and Mask2Former.

Source: Mask2Former (arXiv 2112.01527), section 3.3, with PointRend's uncertain points (arXiv 1912.08193).
Points are (x, y) in [0, 1] of the image, so predicted and true masks may differ in resolution. Every loss is
the sum over masks: the caller divides by the number of objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence


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
    """Uniform points (masks, points, 2) with device and dtype of `like`; drawn where `generator` is."""
    device = like.device if generator is None else generator.device
    return torch.rand(masks, points, 2, generator=generator, device=device).to(like)


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (N, C, P) of floating-point masks (N, C, H, W) at points (N, P, 2)."""
    if masks.numel() == 0:
        return masks.new_zeros(*masks.shape[:2], points.shape[1])
    return functional.grid_sample(masks, (2 * points - 1).unsqueeze(1), align_corners=False)[:, :, 0]


@torch.no_grad()
def sample_truth(masks: Tensor, of: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (N, P) of masks (M, H, W), bool, the n-th at points (N, P, 2) of mask of[n].

    No mask is copied, only what the points touch becomes a number: denoising names every object many times.
    """
    height, width = masks.shape[-2:]
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    of = of[:, None]
    found = torch.zeros(points.shape[:2], dtype=points.dtype, device=masks.device)
    for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            at = masks[of, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
            found += (at & inside) * (across * down)
    return found


@torch.no_grad()
def uncertain_points(
    logits: Tensor, settings: PointSettings, generator: torch.Generator | None = None
) -> Tensor:
    """Points (N, P, 2), each mask's own, mostly where logits (N, h, w) are near 0."""
    candidates = random_points(len(logits), int(settings.points * settings.oversample), logits, generator)
    chosen = int(settings.points * settings.importance)
    best = sample_masks(logits[:, None], candidates)[:, 0].abs().topk(chosen, dim=1, largest=False).indices
    near = candidates.gather(1, best.unsqueeze(-1).expand(-1, -1, 2))
    return torch.cat([near, random_points(len(logits), settings.points - chosen, logits, generator)], dim=1)


def pairwise_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean binary cross entropy (..., Q, M) of every pair of logits (..., Q, P) and truth (..., M, P)."""
    present, absent = functional.softplus(-logits), functional.softplus(logits)
    return (present @ truth.mT + absent @ (1 - truth).mT) / logits.shape[-1]


def pairwise_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss (..., Q, M) of every pair of logits (..., Q, P) and truth (..., M, P) in [0, 1]."""
    probability = logits.sigmoid()
    sums = probability.sum(-1).unsqueeze(-1) + truth.sum(-1).unsqueeze(-2)
    return 1 - (2 * probability @ truth.mT + 1) / (sums + 1)


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
    masks: Sequence[Tensor],
    points: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross entropy and dice (B, Q, M) of logits (B, Q, h, w) and each image's true masks (M, H, W), bool.

    M is that of the fullest image; beyond its own objects an image's costs mean nothing. All masks of an
    image are looked at in the same random points.
    """
    where = random_points(len(logits), points or points_of(logits), logits, generator)
    counts = [len(m) for m in masks]
    image = torch.arange(len(masks)).repeat_interleave(torch.tensor(counts)).to(logits.device)
    every = torch.arange(len(image), device=logits.device)
    truth = sample_truth(torch.cat(list(masks)), every, where[image])
    padded = pad_sequence(truth.split(counts), batch_first=True)
    predicted = sample_masks(logits, where)
    return pairwise_bce(predicted, padded), pairwise_dice(predicted, padded)


def mask_losses(
    logits: Tensor,
    masks: Tensor,
    of: Tensor,
    settings: PointSettings | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross entropy and dice of logits (N, h, w) and their true masks, each summed over N.

    masks: (M, H, W), bool. of: (N,), which of them the logits should be. For N = 0 both are 0, with a
    gradient of 0 for what `logits` was taken from.
    """
    if len(logits) == 0:
        return logits.sum(), logits.sum()
    where = uncertain_points(logits, settings or PointSettings(points_of(logits)), generator)
    predicted, truth = sample_masks(logits[:, None], where)[:, 0], sample_truth(masks, of, where)
    return bce_loss(predicted, truth), dice_loss(predicted, truth)
