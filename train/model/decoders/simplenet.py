"""SimpleNet: anomaly maps, learned from flawless images only; one small network per category.

Source: SimpleNet (arXiv 2303.15140) and its published settings. A location is described by the 3x3
neighbourhood around it on every level; an adapter turns the description into features, Gaussian noise makes
anomalous ones of them, and a discriminator learns to tell the two apart.

The published noise suits the features of a WideResNet-50. Argus's maps leave a GroupNorm and have another
scale: they go in as they are, and the noise is tuned to them, beginning near 0.1.
"""

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.errors import InputError
from argus_edge.train.model.decoders.features import averaging_matrix, check_features
from argus_edge.train.model.layers import resize


def neighbourhood_filters(width: int, dim: int, levels: int) -> Tensor:
    """(dim / levels, width / groups, 3, 3): the published pooling as the weights of one grouped convolution.

    The original averages the 9 * width values of a neighbourhood to `dim`, stacks the levels and averages
    the stack to `dim` once more, which leaves dim / levels values of each. All of it is linear and repeats
    itself `groups` times, where groups = gcd(width, dim / levels).
    """
    kept = dim // levels
    groups = gcd(width, kept)
    pooled = averaging_matrix(9 * width // groups, dim // groups, torch.empty(0))
    stacked = pooled.unflatten(0, (kept // groups, levels)).mean(dim=1)
    filters: Tensor = stacked.unflatten(1, (width // groups, 3, 3))
    return filters.repeat(groups, 1, 1, 1)


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_normal_(linear.weight)
    return linear


def _discriminator(dim: int, hidden: int) -> nn.Sequential:
    """Features (N, dim) -> how normal they are (N, 1)."""
    last = _linear(hidden, 1, bias=False)
    return nn.Sequential(_linear(dim, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2), last)


class SimpleNet(nn.Module):
    """The maps of `levels` -> a score for every location of the finest, per category."""

    filters: Tensor

    def __init__(
        self,
        width: int,
        categories: int,
        dim: int = 1536,
        hidden: int = 1024,
        noise: float = 0.015,
        levels: Sequence[int] = (1, 2),
    ) -> None:
        """`noise` is the standard deviation that makes features anomalous; `levels` go from fine to coarse.

        Raises InputError when the number of levels does not divide `dim`.
        """
        super().__init__()
        if dim % len(levels):
            raise InputError(f"{len(levels)} levels cannot share the {dim} values of a location equally")
        self.width, self.levels, self.noise = width, tuple(levels), noise
        self.adapters = nn.ModuleList(_linear(dim, dim) for _ in range(categories))
        self.discriminators = nn.ModuleList(_discriminator(dim, hidden) for _ in range(categories))
        self.register_buffer("filters", neighbourhood_filters(width, dim, len(levels)), persistent=False)

    def describe(self, features: Sequence[Tensor]) -> Tensor:
        """-> descriptions (B, h, w, dim) of the finest map's locations.

        Raises InputError when the maps do not fit the decoder.
        """
        check_features(features, self.width, self.levels)
        groups = self.width // self.filters.shape[1]
        maps = [functional.conv2d(f, self.filters, padding=1, groups=groups) for f in features]
        size = (maps[0].shape[-2], maps[0].shape[-1])
        return torch.cat([maps[0]] + [resize(m, size) for m in maps[1:]], dim=1).permute(0, 2, 3, 1)

    def forward(
        self, features: Sequence[Tensor], categories: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Scores of flawless images and of the same with noise from `generator`; `categories` (B,) int64.

        Returns `normal` and `noised` (B, h, w), each image judged by the network of its category alone;
        greater is more normal. No gradient reaches the features: they would shrink until the noise stands
        out, and the original's backbone is frozen. Raises InputError for an unknown category.
        """
        described = self.describe([f.detach() for f in features])
        source = described.device if generator is None else generator.device
        images, normal, noised = [], [], []
        for index, (adapter, discriminator) in enumerate(
            zip(self.adapters, self.discriminators, strict=True)
        ):
            chosen = (categories == index).nonzero().squeeze(1)
            real = adapter(described[chosen])
            noise = torch.randn(real.shape, generator=generator, device=source).to(real)
            # Together, so that BatchNorm sees both kinds, and two values of a single location.
            both = torch.cat([real, real + self.noise * noise])
            scores = discriminator(both.flatten(0, 2)).view(both.shape[:-1])
            images.append(chosen)
            normal.append(scores[: len(chosen)])
            noised.append(scores[len(chosen) :])
        order = torch.cat(images).argsort()
        if len(order) != len(described):
            raise InputError(f"categories are 0 to {len(self.adapters) - 1}, got {categories.tolist()}")
        return {"normal": torch.cat(normal)[order], "noised": torch.cat(noised)[order]}

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `maps` (B, categories, h, w) float32 of the finest level's size; greater is more anomalous."""
        described = self.describe(features)
        x = described.flatten(0, 2)
        scores = [
            discriminator(adapter(x))
            for adapter, discriminator in zip(self.adapters, self.discriminators, strict=True)
        ]
        maps = -torch.cat(scores, dim=1).unflatten(0, described.shape[:-1]).permute(0, 3, 1, 2)
        return {"maps": maps.to(torch.float32)}
