"""DPT: dense maps.

Source: DPT (arXiv 2103.13413). Its "reassemble" stage turns ViT taps into a pyramid; ours exists already, so
it is one 3x3 convolution per level. Fusion resizes with align_corners=True, as the original.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.train.model.layers import resize


class ResidualUnit(nn.Module):
    """Pre-activation residual unit: ReLU, 3x3, ReLU, 3x3, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Not in place: the identity needs x as it came.
        residual: Tensor = self.conv2(functional.relu(self.conv1(functional.relu(x))))
        return x + residual


class Fusion(nn.Module):
    """Adds a finer level to the coarse path, refines it and doubles its size."""

    def __init__(self, channels: int, skip: bool) -> None:
        super().__init__()
        self.skip = ResidualUnit(channels) if skip else None
        self.refine = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, path: Tensor, level: Tensor | None = None) -> Tensor:
        if self.skip is not None and level is not None:
            path = path + self.skip(level)
        path = self.refine(path)
        size = (path.shape[-2] * 2, path.shape[-1] * 2)
        output: Tensor = self.project(resize(path, size, align_corners=True))
        return output


class DPTTrunk(nn.Module):
    """F0..F3 -> (B, channels, H/2, W/2)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.reassemble = nn.ModuleList(nn.Conv2d(width, channels, 3, 1, 1, bias=False) for _ in range(4))
        self.fusions = nn.ModuleList(Fusion(channels, skip=level < 3) for level in range(4))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        levels = [conv(f) for conv, f in zip(self.reassemble, features, strict=True)]
        path: Tensor = self.fusions[3](levels[3])
        for level in (2, 1, 0):
            path = self.fusions[level](path, levels[level])
        return path


class DPTDepth(nn.Module):
    """F0..F3 -> depth [m] at full resolution.

    The last activation is a softplus where DPT has a ReLU: trained from scratch, a ReLU that undershoots has
    no gradient left while the logarithmic loss is at its largest.
    """

    levels = (0, 1, 2, 3)
    min_depth = 1e-3  # [m]

    def __init__(self, width: int, channels: int, hidden: int, typical_depth: float = 3.0) -> None:
        """`typical_depth` [m] is what an untrained decoder answers."""
        super().__init__()
        self.trunk = DPTTrunk(width, channels)
        self.reduce = nn.Conv2d(channels, channels // 2, 3, 1, 1)
        self.refine = nn.Conv2d(channels // 2, hidden, 3, 1, 1)
        self.regress = nn.Conv2d(hidden, 1, 1)
        assert self.regress.bias is not None
        nn.init.constant_(self.regress.bias, typical_depth)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `depth` (B, H, W) [m], above 0."""
        x = self.reduce(self.trunk(features))
        x = resize(x, (x.shape[-2] * 2, x.shape[-1] * 2), align_corners=True)
        x = self.regress(functional.relu(self.refine(x)))
        depth = functional.softplus(x.float()).squeeze(1) + self.min_depth
        return {"depth": depth}

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `depth` (B, H, W) float32 [m]."""
        return {"depth": self(features)["depth"].to(torch.float32)}
