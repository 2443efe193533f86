"""Multi-scale deformable attention.

Source: Deformable DETR (arXiv 2010.04159) with the value `ratio` of ViT-Adapter (arXiv 2205.08534). Sampling
equals `grid_sample(align_corners=False, padding_mode="zeros")` on `2 * location - 1`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.train.kernels.launch import runs_kernels
from argus_edge.train.kernels.operations import sample_deformable
from argus_edge.train.model.layers import at_least_single, constant

Shape = tuple[int, int]


def pixel_centres(shapes: Sequence[Shape], like: Tensor) -> Tensor:
    """Normalised (x, y) centres in [0, 1] of all cells of maps `shapes` (h, w), level by level: (N, 2)."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
        x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack([grid_x.reshape(-1), grid_y.reshape(-1)], dim=-1))
    return torch.cat(centres)


def sample_values(value: Tensor, shapes: Sequence[Shape], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples.

    value (B, N, M, D), N the cells of all levels; locations (B, Q, M, L, P, 2), (x, y) in [0, 1];
    weights (B, Q, M, L, P), both in single precision at least. Returns (B, Q, M * D).
    """
    if runs_kernels(value):
        sizes = [side for shape in shapes for side in shape]
        sampled: Tensor = sample_deformable(value, sizes, locations, weights)
        return sampled
    return sample_with_grids(at_least_single(value), shapes, locations, weights)


def sample_with_grids(value: Tensor, shapes: Sequence[Shape], locations: Tensor, weights: Tensor) -> Tensor:
    """`sample_values` by torch's grid_sample; all in one type."""
    batch, _, heads, depth = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    # Points before queries: the sum over points then runs along whole rows.
    grids = (2 * locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    weights = weights.permute(3, 0, 2, 4, 1).reshape(len(shapes), batch * heads, 1, points, queries)
    levels = value.split([height * width for height, width in shapes], dim=1)
    total: Tensor | None = None
    for level, (height, width) in enumerate(shapes):
        maps = levels[level].permute(0, 2, 3, 1).reshape(batch * heads, depth, height, width)
        sampled = functional.grid_sample(maps, grids[level], "bilinear", "zeros", align_corners=False)
        part = (sampled * weights[level]).sum(-2)
        total = part if total is None else total + part
    assert total is not None
    return total.reshape(batch, heads * depth, queries).transpose(1, 2)


class DeformableAttention(nn.Module):
    """Each query reads `points` places per level and head, at learned offsets around its reference point."""

    def __init__(self, dim: int, heads: int, levels: int, points: int = 4, ratio: float = 1.0) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        inner = int(dim * ratio)
        self.offsets = nn.Linear(dim, heads * levels * points * 2)
        self.weights = nn.Linear(dim, heads * levels * points)
        self.value = nn.Linear(dim, inner)
        self.output = nn.Linear(inner, dim)
        self.reset()

    def reset(self) -> None:
        """Offsets start on a star of `heads` directions, attention uniform (the paper's initialisation).

        To be called again after any generic initialisation of a surrounding module.
        """
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        star = torch.stack([angle.cos(), angle.sin()], dim=-1)
        star = star / star.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.points + 1).view(1, 1, self.points, 1)
        bias = star.view(self.heads, 1, 1, 2) * steps.expand(1, self.levels, -1, -1)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        with torch.no_grad():
            self.offsets.bias.copy_(bias.reshape(-1))
        for linear in (self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, reference: Tensor, source: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """query (B, Q, C); reference (B or 1, Q, 2) xy points or (B, Q, 4) cxcywh boxes in [0, 1], shared by
        the levels; source (B, N, C), N the cells of the maps `shapes`, level after level. Returns (B, Q, C).
        """
        batch, queries, _ = query.shape
        form = (batch, queries, self.heads, self.levels, self.points)
        value = self.value(source).unflatten(-1, (self.heads, -1))
        # Offsets and locations in fp32: half a pixel of a large map is below half precision's step.
        offsets = at_least_single(self.offsets(query)).view(*form, 2)
        weights = at_least_single(self.weights(query)).view(*form[:3], -1).softmax(-1).view(form)
        reference = at_least_single(reference[:, :, None, None, None, :])
        if reference.shape[-1] == 2:
            size = constant(tuple((w, h) for h, w in shapes), offsets.device, offsets.dtype)
            locations = reference + offsets / size[:, None, :]
        else:
            locations = reference[..., :2] + offsets * (reference[..., 2:] * (0.5 / self.points))
        with torch.autocast(query.device.type, enabled=False):
            sampled = sample_values(value, shapes, locations, weights)
        output: Tensor = self.output(sampled.to(query.dtype))
        return output
