"""Surface normals: mean squared error of unit vectors (Argus; L2)."""

import torch
from torch import Tensor


def normals_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean over the three coordinates of all valid pixels of the squared error; 0 where no pixel is valid.

    prediction (B, 3, H, W), of length 1; truth (B, 3, H, W), of length 1, or (0, 0, 0) where unknown.
    """
    valid = (truth != 0).any(dim=1, keepdim=True)
    error = torch.where(valid, prediction.float() - truth.float(), 0)
    return error.square().sum() / (3 * valid.sum()).clamp(min=1)
