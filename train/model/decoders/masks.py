"""Masks as products of query embeddings with one map: what the decoders that answer masks share."""

import torch
from torch import Tensor

STEEPNESS = 1000.0  # of the step from outside a mask to inside


def mask_logits(embeddings: Tensor, features: Tensor) -> Tensor:
    """Embeddings (B, Q, C) and mask features (B, C, h, w) -> mask logits (B, Q, h, w)."""
    logits: Tensor = (embeddings @ features.flatten(2)).unflatten(2, features.shape[2:])
    return logits


def mask_certainty(masks: Tensor) -> Tensor:
    """The mean probability inside masks given as logits (B, N, h, w): (B, N), 0 for an empty one.

    A pixel whose logit is between 0 and 1 / STEEPNESS counts in part: whole or not at all would hang on the
    last digit, and two engines that are both right would differ by a pixel of a small mask.
    """
    inside = (masks * STEEPNESS).clamp(0, 1)
    # Means, not sums: those of a large mask leave half precision's range.
    total = (masks.sigmoid() * inside).mean((2, 3))
    return total / inside.mean((2, 3)).clamp(min=1 / (masks.shape[2] * masks.shape[3]))


def pick(x: Tensor, index: Tensor) -> Tensor:
    """x (B, N, ...) at index (B, M) of its second dimension: (B, M, ...), without an index per element."""
    start = torch.arange(len(x), device=x.device).unsqueeze(1) * x.shape[1]
    chosen: Tensor = x.flatten(0, 1).index_select(0, (index + start).flatten()).unflatten(0, index.shape)
    return chosen
