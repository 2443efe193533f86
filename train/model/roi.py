"""Pose on regions: each person's part of the shared features instead of a backbone pass of its own.

RoIAlign is that of Mask R-CNN (arXiv 1703.06870) with the half-pixel shift that torchvision calls `aligned`,
as one `grid_sample` with static shapes, which every engine has. Regions are laid out so that a cell of the
cut F0..F3 stands for the spot in the image that it would stand for had the person's crop gone through the
backbone: the same decoder reads both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.runtime.persons import ASPECT, WIDENING

Size = tuple[int, int]

STRIDES = (4, 8, 16, 32)  # [px] of F0..F3
_OUTSIDE = -3.0  # on grid_sample's scale of -1 to 1: more than a cell off any map


def roi_align(features: Tensor, boxes: Tensor, size: Size, samples: int) -> Tensor:
    """Cut P boxes out of each map, resampled to one size.

    Args:
        features: (B, C, H, W).
        boxes: (B, P, 4) xyxy [cells], continuous: cell i covers [i, i + 1). May leave the map.
        size: rows and columns of the result; each is the mean of samples x samples bilinear reads.
        samples: per side.

    Returns (B * P, C, *size), as `torchvision.ops.roi_align(..., sampling_ratio=samples, aligned=True)` does:
    a read up to one cell off the outermost cells' centres gives the nearest of them, one beyond gives 0.
    """
    batch, channels, height, width = features.shape
    persons = boxes.shape[1]
    x = _reads(boxes[..., 0], boxes[..., 2], size[1] * samples, width)
    y = _reads(boxes[..., 1], boxes[..., 3], size[0] * samples, height)
    rows, columns = y.shape[-1], x.shape[-1]
    grid = torch.stack(
        [
            x[:, :, None, :].expand(batch, persons, rows, columns),
            y[:, :, :, None].expand(batch, persons, rows, columns),
        ],
        dim=-1,
    )
    stacked = grid.reshape(batch, persons * rows, columns, 2)
    cut = functional.grid_sample(features, stacked, "bilinear", "zeros", align_corners=False)
    if samples > 1:
        cut = functional.avg_pool2d(cut, samples)
    return cut.reshape(batch, channels, persons, *size).transpose(1, 2).flatten(0, 1)


def _reads(low: Tensor, high: Tensor, count: int, side: int) -> Tensor:
    """Where `count` reads between ends (B, P) [cells] lie on a map's side, from -1 to 1: (B, P, count)."""
    share = (torch.arange(count, dtype=low.dtype, device=low.device) + 0.5) / count
    place = low[..., None] + (high - low)[..., None] * share - 0.5  # 0 is the first cell's centre
    near = (place >= -1) & (place <= side)
    scaled = (2 * place.clamp(0, side - 1) + 1) / side - 1
    return torch.where(near, scaled, torch.full_like(scaled, _OUTSIDE))


class PoseOnRegions(nn.Module):
    """A pose decoder for crops, fed with regions of the whole image's features. Has no parameters of its own.

    Args:
        decoder: maps (P, C, H/4, W/4) to (P, C, H/32, W/32) of P crops -> {"heatmaps": (P, K, h, w)}.
        size: H, W [px] of the crops that the decoder has, or could have, been trained on.
        samples: reads per cell and side. One is enough while a region is hardly larger than `size`.
    """

    levels = (0, 1, 2, 3)

    def __init__(self, decoder: nn.Module, size: Size = (256, 192), samples: int = 1) -> None:
        super().__init__()
        self.decoder = decoder
        self.size = size
        self.samples = samples

    def cut(self, features: Sequence[Tensor], persons: Tensor) -> list[Tensor]:
        """F0..F3 (B, C, H/s, W/s) and boxes (B, P, 4) xyxy in [0, 1] of the input -> the maps
        (B * P, C, h/s, w/s) of their regions, s = 4, 8, 16, 32 and (h, w) the crops' size.
        """
        height, width = (side * STRIDES[0] for side in features[0].shape[-2:])
        regions = self._regions(persons * persons.new_tensor([width, height, width, height]))
        return [
            roi_align(f, regions / stride, (self.size[0] // stride, self.size[1] // stride), self.samples)
            for f, stride in zip(features, STRIDES, strict=True)
        ]

    def forward(self, features: Sequence[Tensor], persons: Tensor) -> dict[str, Tensor]:
        """As `cut` -> `heatmaps` (B * P, K, h, w), image by image."""
        outputs: dict[str, Tensor] = self.decoder(self.cut(features, persons))
        return outputs

    def infer(self, features: Sequence[Tensor], persons: Tensor) -> dict[str, Tensor]:
        """F0..F3 of one image and boxes (P, 4) xyxy in [0, 1] -> `heatmaps` (P, K, h, w) float32."""
        outputs: dict[str, Tensor] = self.decoder.infer(self.cut(features, persons[None]))  # type: ignore[operator]
        return outputs

    def _regions(self, boxes: Tensor) -> Tensor:
        """Boxes (B, P, 4) xyxy [px] -> what their crops show, to the outer borders of the outermost pixels.

        UDP lays a region's sides on those pixels' centres, half a pixel further in.
        """
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
        tall = torch.maximum(height, width / ASPECT) * WIDENING
        rows, columns = self.size
        half = (
            torch.stack([tall * (ASPECT * columns / (columns - 1)), tall * (rows / (rows - 1))], dim=-1) / 2
        )
        return torch.cat([centre - half, centre + half], dim=-1)
