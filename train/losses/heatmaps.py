"""Keypoint heatmaps: mean squared error, as top-down pose estimation has it (ViTPose, arXiv 2204.12484)."""

from torch import Tensor


def heatmap_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over all pixels of all maps of (weight * (prediction - target))^2; 0 without persons.

    prediction and target (P, K, h, w); weight (P, K), 0 for a keypoint that nobody can see. Its maps count
    among those averaged over, as published.
    """
    error = (prediction.float() - target.float()) * weight.float()[:, :, None, None]
    return error.square().sum() / max(error.numel(), 1)
