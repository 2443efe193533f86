"""The deformable pixel decoder of Mask DINO and Mask2Former.

Source: Deformable DETR's encoder (arXiv 2010.04159) with the mask features of Mask2Former (arXiv 2112.01527)
and Mask DINO (arXiv 2206.02777): 1x1 projections of F1..F3 (and a fourth, coarser level of F3), deformable
self-attention over all levels, and one map at a quarter of the image for the masks.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from argus_edge.train.model.deformable import DeformableAttention, Shape, pixel_centres
from argus_edge.train.model.layers import (
    ConvNorm,
    constant,
    conv_norm_relu,
    group_norm,
    mlp,
    resize,
    sine_embedding,
)

HEADS = 8
GROUPS = 32  # of every GroupNorm here; `dim` is a multiple of it

Cells = Literal["centre", "corner"]


def cell_positions(shapes: Sequence[Shape], dim: int, like: Tensor, cells: Cells = "centre") -> Tensor:
    """Sine embedding (N, dim) of the (y, x) positions of all cells of maps `shapes` (h, w), level by level.

    Cell i of n stands at its centre, (i + 0.5) / n, or at its far corner, (i + 1) / n: the count of cells up
    to it, as the published Mask2Former and Mask DINO have it.
    """
    positions = pixel_centres(shapes, like)
    if cells == "corner":
        halves = [
            constant((0.5 / w, 0.5 / h), like.device).to(like.dtype).expand(h * w, 2) for h, w in shapes
        ]
        positions = positions + torch.cat(halves)
    return sine_embedding(positions.flip(-1), dim // 2)


class EncoderLayer(nn.Module):
    """Deformable self-attention over all levels, then a feed-forward; post-norm."""

    def __init__(self, dim: int, ffn: int, levels: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, HEADS, levels)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = mlp(dim, ffn, dim, 2)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, position: Tensor, centres: Tensor, shapes: Sequence[Shape]) -> Tensor:
        tokens = self.norm1(tokens + self.attention(tokens + position, centres, tokens, shapes))
        output: Tensor = self.norm2(tokens + self.ffn(tokens))
        return output


class MaskFeatures(nn.Module):
    """F0 (B, width, H/4, W/4) and the memory's finest map (B, dim, H/8, W/8) -> (B, dim, H/4, W/4)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.lateral = ConvNorm(nn.Conv2d(width, dim, 1, bias=False), nn.GroupNorm(GROUPS, dim))
        self.smooth = conv_norm_relu(dim, dim, 3, group_norm(GROUPS))
        self.project = nn.Conv2d(dim, dim, 1)
        for convolution in (self.lateral[0], self.smooth[0], self.project):
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)

    def forward(self, f0: Tensor, finest: Tensor) -> Tensor:
        lateral = self.lateral(f0)
        size = (int(lateral.shape[-2]), int(lateral.shape[-1]))
        output: Tensor = self.project(self.smooth(lateral + resize(finest, size)))
        return output


class PixelDecoder(nn.Module):
    """F1, F2, F3 -> the memory: tokens of 3 levels (strides 8, 16, 32) or 4 (and 64).

    The memory runs from fine to coarse, or with `coarse_first` the other way; so does `level_embedding`. With
    `masks` there are `mask_features`, to be called through `mask_map`. `cells` as in `cell_positions`.
    """

    def __init__(
        self,
        width: int,
        dim: int,
        layers: int,
        ffn: int,
        levels: Literal[3, 4] = 4,
        coarse_first: bool = False,
        masks: bool = False,
        cells: Cells = "centre",
    ) -> None:
        super().__init__()
        self.coarse_first, self.cells = coarse_first, cells
        self.inputs = nn.ModuleList(
            ConvNorm(nn.Conv2d(width, dim, 1), nn.GroupNorm(GROUPS, dim)) for _ in range(3)
        )
        self.coarse = (
            ConvNorm(nn.Conv2d(width, dim, 3, 2, 1), nn.GroupNorm(GROUPS, dim)) if levels == 4 else None
        )
        self.level_embedding = nn.Parameter(torch.zeros(levels, dim))
        self.layers = nn.ModuleList(EncoderLayer(dim, ffn, levels) for _ in range(layers))
        for sequence in (*self.inputs, *([] if self.coarse is None else [self.coarse])):
            nn.init.xavier_uniform_(sequence[0].weight)
            nn.init.zeros_(sequence[0].bias)
        nn.init.normal_(self.level_embedding)
        self.mask_features = MaskFeatures(width, dim) if masks else None

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Shape]]:
        """features F1, F2, F3: (B, width, H/s, W/s). Returns the memory (B, N, dim), level after level, and
        the shapes (h, w) of its levels.
        """
        maps = [project(f) for project, f in zip(self.inputs, features, strict=True)]
        if self.coarse is not None:
            maps.append(self.coarse(features[-1]))
        if self.coarse_first:
            maps.reverse()
        shapes = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps]
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)
        embeddings = zip(self.level_embedding.unbind(), shapes, strict=True)
        levels = torch.cat([embedding.expand(h * w, -1) for embedding, (h, w) in embeddings])
        position = cell_positions(shapes, tokens.shape[-1], tokens, self.cells) + levels
        centres = pixel_centres(shapes, tokens)
        for layer in self.layers:
            tokens = layer(tokens, position, centres[None], shapes)
        return tokens, shapes

    def mask_map(self, f0: Tensor, memory: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """The mask features (B, dim, H/4, W/4) of F0 and what `forward` returned; needs `masks`."""
        assert self.mask_features is not None
        levels = split_levels(memory, shapes)
        finest = -1 if self.coarse_first else 0
        features: Tensor = self.mask_features(f0, levels[finest].transpose(1, 2).unflatten(2, shapes[finest]))
        return features


def split_levels(memory: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """memory (B, N, C) -> (B, h * w, C) for each of its levels, in its order."""
    return list(memory.split([h * w for h, w in shapes], dim=1))
