"""DPT: depth, surface normals, heatmaps of keypoints.

Source: DPT (arXiv 2103.13413). Its "reassemble" stage turns ViT taps into a pyramid; ours exists already, so
it is one 3x3 convolution per level. Fusion resizes with align_corners=True, as the original. The original
builds a skip unit for the coarsest level too and never runs it; here it does not exist (1,180,160 parameters
at 256 channels).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.train.model.decoders.features import check_features
from argus_edge.train.model.layers import resize

LEVELS = (0, 1, 2, 3)
UNIT_EPS = 1e-4  # what is shorter than this is not stretched to a unit vector; float16 can hold it


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


def _doubled(x: Tensor) -> Tensor:
    return resize(x, (x.shape[-2] * 2, x.shape[-1] * 2), align_corners=True)


class Fusion(nn.Module):
    """Adds a finer level to the coarse path, refines it and, unless told otherwise, doubles its size."""

    def __init__(self, channels: int, skip: bool, doubles: bool = True) -> None:
        super().__init__()
        self.doubles = doubles
        self.skip = ResidualUnit(channels) if skip else None
        self.refine = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, path: Tensor, level: Tensor | None = None) -> Tensor:
        if self.skip is not None and level is not None:
            path = path + self.skip(level)
        path = self.refine(path)
        output: Tensor = self.project(_doubled(path) if self.doubles else path)
        return output


class DPTTrunk(nn.Module):
    """F0..F3 -> (B, channels, H/2, W/2), or at a quarter of H, W without the last doubling."""

    def __init__(self, width: int, channels: int, last_doubling: bool = True) -> None:
        super().__init__()
        self.width = width
        self.reassemble = nn.ModuleList(nn.Conv2d(width, channels, 3, 1, 1, bias=False) for _ in LEVELS)
        self.fusions = nn.ModuleList(
            Fusion(channels, skip=level < 3, doubles=level > 0 or last_doubling) for level in LEVELS
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Raises InputError when the maps do not fit the decoder."""
        check_features(features, self.width, LEVELS)
        levels = [conv(f) for conv, f in zip(self.reassemble, features, strict=True)]
        path: Tensor = self.fusions[3](levels[3])
        for level in (2, 1, 0):
            path = self.fusions[level](path, levels[level])
        return path


class _DenseDPT(nn.Module):
    """The trunk and DPT's head for dense maps: F0..F3 -> (B, outputs, H, W)."""

    levels = LEVELS

    def __init__(self, width: int, channels: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.trunk = DPTTrunk(width, channels)
        self.reduce = nn.Conv2d(channels, channels // 2, 3, 1, 1)
        self.refine = nn.Conv2d(channels // 2, hidden, 3, 1, 1)
        self.regress = nn.Conv2d(hidden, outputs, 1)

    def maps(self, features: Sequence[Tensor]) -> Tensor:
        """-> (B, outputs, H, W) of float32 at least, whatever precision training computes in."""
        x = _doubled(self.reduce(self.trunk(features)))
        x = functional.relu(self.refine(x))
        maps: Tensor = self.regress(x)
        return maps.to(torch.promote_types(maps.dtype, torch.float32))


class DPTDepth(_DenseDPT):
    """F0..F3 -> depth [m] at full resolution.

    The last activation is a softplus where DPT has a ReLU: trained from scratch, a ReLU that undershoots has
    no gradient left while the logarithmic loss is at its largest.
    """

    min_depth = 1e-3  # [m]

    def __init__(self, width: int, channels: int, hidden: int, typical_depth: float = 3.0) -> None:
        """`typical_depth` [m] is what an untrained decoder answers."""
        super().__init__(width, channels, hidden, 1)
        assert self.regress.bias is not None
        nn.init.constant_(self.regress.bias, typical_depth)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `depth` (B, H, W) [m], above 0."""
        return {"depth": functional.softplus(self.maps(features)).squeeze(1) + self.min_depth}

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `depth` (B, H, W) float32 [m]."""
        return {"depth": self(features)["depth"].to(torch.float32)}


class DPTNormals(_DenseDPT):
    """F0..F3 -> unit surface normals at full resolution, in the camera's frame: x right, y down, z ahead.

    An untrained decoder answers surfaces seen straight on, (0, 0, -1), more or less.
    """

    def __init__(self, width: int, channels: int, hidden: int) -> None:
        super().__init__(width, channels, hidden, 3)
        with torch.no_grad():
            assert self.regress.bias is not None
            self.regress.bias.copy_(torch.tensor([0.0, 0.0, -1.0]))

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `normals` (B, 3, H, W), of length 1."""
        return {"normals": functional.normalize(self.maps(features), dim=1, eps=UNIT_EPS)}

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `normals` (B, 3, H, W) float32, of length 1."""
        return {"normals": self(features)["normals"].to(torch.float32)}


class DPTPose(nn.Module):
    """F0..F3 of P persons -> heatmaps of their keypoints, of F0's size.

    DPT ends at 1/2; the heatmaps that top-down pose estimation learns from have 1/4 (ViTPose, arXiv
    2204.12484), so the doubling of the finest fusion is left out.
    """

    levels = LEVELS

    def __init__(self, width: int, channels: int, keypoints: int = 17, hidden: int | None = None) -> None:
        """The head is a 3x3 convolution of `channels`, ReLU and a 1x1. With `hidden` it is that of DPT's
        dense maps instead: two 3x3 convolutions, to channels / 2 and on to `hidden`, ReLU and a 1x1.
        """
        super().__init__()
        self.trunk = DPTTrunk(width, channels, last_doubling=False)
        widths = [channels, channels] if hidden is None else [channels, channels // 2, hidden]
        convolutions = [nn.Conv2d(left, right, 3, 1, 1) for left, right in pairwise(widths)]
        last = nn.Conv2d(widths[-1], keypoints, 1)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.001)  # heatmaps are 0 almost everywhere
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(*convolutions, nn.ReLU(inplace=True), last)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Maps (P, C, h, w), (P, C, h/2, w/2) and so on -> `heatmaps` (P, keypoints, h, w)."""
        heatmaps: Tensor = self.head(self.trunk(features))
        return {"heatmaps": heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32))}

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `heatmaps` (P, keypoints, h, w) float32."""
        return {"heatmaps": self(features)["heatmaps"].to(torch.float32)}
