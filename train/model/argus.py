"""The Argus network: one backbone with its adapter, a decoder per task."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.backbone import Backbone

MEAN = (123.675, 116.28, 103.53)  # RGB, 0-255 scale (ImageNet)
STD = (58.395, 57.12, 57.375)


def normalise(image: Tensor) -> Tensor:
    """image (B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, normalised."""
    mean = torch.tensor(MEAN, device=image.device)
    std = torch.tensor(STD, device=image.device)
    return ((image.float() - mean) / std).permute(0, 3, 1, 2)


class Argus(nn.Module):
    """Receives finished parts; `model/build.py` makes them."""

    def __init__(self, backbone: Backbone, adapter: Adapter, decoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.adapter = adapter
        self.decoders = nn.ModuleDict(decoders)

    def features(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W), normalised RGB, H and W multiples of 32 [px] -> F0..F3, (B, C, H/s, W/s) at
        s = 4, 8, 16, 32.
        """
        return self.adapter(image, self.backbone)  # type: ignore[no-any-return]

    def infer(self, task: str, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """The inference form of one task's decoder over F0..F3: the outputs that a model package holds."""
        decoder = self.decoders[task]
        return decoder.infer([features[level] for level in decoder.levels])  # type: ignore[operator, union-attr, no-any-return]
