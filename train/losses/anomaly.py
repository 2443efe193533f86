"""SimpleNet's hinge loss (arXiv 2303.15140): normal features above +0.5, noised ones below -0.5."""

from collections.abc import Mapping

from torch import Tensor

MARGIN = 0.5


def simplenet_loss(outputs: Mapping[str, Tensor]) -> Tensor:
    """Mean over all locations of both hinges; 0 for an empty batch.

    outputs `normal` and `noised` (B, h, w): the discriminator's scores, greater where it sees normality.
    """
    normal, noised = outputs["normal"].float(), outputs["noised"].float()
    hinges = (MARGIN - normal).clamp(min=0) + (MARGIN + noised).clamp(min=0)
    return hinges.sum() / max(hinges.numel(), 1)
