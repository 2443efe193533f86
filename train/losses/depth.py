"""Depth losses: scale-invariant logarithmic error and multi-scale gradient matching.

Sources: SILog in AdaBins' form (arXiv 2011.14141), pooled over the batch; gradients as MegaDepth
(arXiv 1804.00607).
"""

import torch
from torch import Tensor

SCALES = 4
GRADIENT_WEIGHT = 0.5


def silog(log_error: Tensor) -> Tensor:
    """10 * sqrt(var(g) + 0.15 mean(g)^2) of g = ln(prediction) - ln(truth) over the valid pixels (N,)."""
    return 10 * (log_error.var() + 0.15 * log_error.mean() ** 2 + 1e-8).sqrt()


def gradient_matching(error: Tensor, valid: Tensor) -> Tensor:
    """Mean |dx g| + |dy g| over pairs of valid pixels, summed over scales 1, 1/2, 1/4, 1/8.

    error g and valid (bool) (B, H, W).
    """
    total = torch.zeros((), device=error.device)
    for scale in range(SCALES):
        step = 2**scale
        g, v = error[:, ::step, ::step], valid[:, ::step, ::step]
        pairs_x, pairs_y = v[:, :, 1:] & v[:, :, :-1], v[:, 1:] & v[:, :-1]
        dx = ((g[:, :, 1:] - g[:, :, :-1]).abs() * pairs_x).sum()
        dy = ((g[:, 1:] - g[:, :-1]).abs() * pairs_y).sum()
        total = total + dx / pairs_x.sum().clamp(min=1) + dy / pairs_y.sum().clamp(min=1)
    return total


def depth_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """prediction (B, H, W) [m] above 0; truth (B, H, W) [m], 0 where there is no surface."""
    valid = truth > 0
    if int(valid.sum()) < 2:
        return prediction.sum() * 0
    error = prediction.log() - truth.clamp(min=1e-6).log()
    error = torch.where(valid, error, torch.zeros_like(error))
    return silog(error[valid]) + GRADIENT_WEIGHT * gradient_matching(error, valid)
