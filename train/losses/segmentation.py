"""Pixel-wise cross entropy of UPerNet and its auxiliary head (arXiv 1807.10221; weights 1 and 0.4)."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from argus_edge.train.model.layers import resize

IGNORE = 255
AUXILIARY_WEIGHT = 0.4


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pixels that are not `IGNORE`; 0 where there are none.

    logits (B, K, h, w), resized to the labels; labels (B, H, W) of any integers.
    """
    labels = labels.long()
    full = resize(logits.float(), (labels.shape[-2], labels.shape[-1]))
    total = functional.cross_entropy(full, labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)


def segmentation_loss(outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    loss = cross_entropy(outputs["logits"], labels)
    if "auxiliary" in outputs:
        loss = loss + AUXILIARY_WEIGHT * cross_entropy(outputs["auxiliary"], labels)
    return loss
