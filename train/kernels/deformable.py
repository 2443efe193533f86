"""The core of multi-scale deformable attention on a GPU, and its gradient.

Each row of a tile is one head of one query; across the tile lie that head's channels, which are contiguous in
the value, so a sample is four short runs of memory. Heads of one query are rows side by side: they read near
the same place. Samples are bilinear with zeros outside, as `train/model/deformable.py` has them
(Deformable DETR, arXiv 2010.04159); places, weights and sums are in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from argus_edge.train.kernels.launch import INTERPRETED, OPTIONS, power_of_two

ELEMENTS = 1024 if not INTERPRETED else 1 << 15  # of a tile, rows times channels

jit: Callable[[Callable[..., Any]], Any] = triton.jit


@jit
def _corners(
    locations: tl.tensor,
    read: tl.tensor,
    known: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
) -> tuple[tl.tensor, ...]:
    """Of a sample of each row: left column, upper row, how far it lies right of and below their centres, and
    which sides are on the map. A place that is no number lies outside.
    """
    at = locations + read * 2
    column = tl.load(at, mask=known, other=-1.0) * width - 0.5
    line = tl.load(at + 1, mask=known, other=-1.0) * height - 0.5
    near = (column > -1) & (column < width) & (line > -1) & (line < height)
    column, line = tl.where(near, column, 0.0), tl.where(near, line, 0.0)
    left, top = tl.floor(column), tl.floor(line)
    right, down = column - left, line - top
    left, top = left.to(tl.int32), top.to(tl.int32)
    return (
        left, top, right, down,
        near & (left >= 0), near & (left + 1 < width), near & (top >= 0), near & (top + 1 < height),
    )  # fmt: skip


@jit
def _cell(image: tl.tensor, at: tl.tensor, inside: tl.tensor, on_head: tl.tensor) -> tl.tensor:
    return tl.load(image + at, mask=inside[:, None] & on_head, other=0.0).to(tl.float32)


@jit
def _sample(
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    y: tl.tensor,
    rows: tl.tensor,
    cells: tl.tensor,
    sizes: tl.constexpr,
    heads: tl.constexpr,
    depth: tl.constexpr,
    padded: tl.constexpr,
    points: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Rows are queries times heads of one image; `sizes` (h0, w0, h1, w1, ...) of the levels."""
    image = tl.program_id(1)
    row = tl.program_id(0) * block + tl.arange(0, block)
    known = row < rows
    lane = tl.arange(0, padded)[None, :]
    on_head = known[:, None] & (lane < depth)
    channel = (row % heads)[:, None] * depth + lane
    step: tl.constexpr = heads * depth
    value += image.to(tl.int64) * cells * step
    row = image.to(tl.int64) * rows + row
    reads: tl.constexpr = len(sizes) // 2 * points
    total = tl.zeros((block, padded), tl.float32)
    start = 0
    for level in tl.static_range(len(sizes) // 2):
        height, width = sizes[2 * level], sizes[2 * level + 1]
        for point in range(points):
            read = row * reads + level * points + point
            left, top, right, down, west, east, north, south = _corners(locations, read, known, height, width)
            weight = tl.load(weights + read, mask=known, other=0.0)
            at = (start + top * width + left)[:, None] * step + channel
            v00 = _cell(value, at, north & west, on_head)
            v01 = _cell(value, at + step, north & east, on_head)
            v10 = _cell(value, at + width * step, south & west, on_head)
            v11 = _cell(value, at + width * step + step, south & east, on_head)
            lower, upper = weight * down, weight * (1 - down)
            total += (upper * (1 - right))[:, None] * v00 + (upper * right)[:, None] * v01
            total += (lower * (1 - right))[:, None] * v10 + (lower * right)[:, None] * v11
        start += height * width
    tl.store(y + row[:, None] * depth + lane, total.to(y.dtype.element_ty), mask=on_head)


@jit
def _gradient(
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    gradient: tl.tensor,
    to_value: tl.tensor,
    to_locations: tl.tensor,
    to_weights: tl.tensor,
    rows: tl.tensor,
    cells: tl.tensor,
    sizes: tl.constexpr,
    heads: tl.constexpr,
    depth: tl.constexpr,
    padded: tl.constexpr,
    points: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """From the gradient of what `_sample` wrote, those of its inputs; `to_value` in fp32, added to."""
    image = tl.program_id(1)
    row = tl.program_id(0) * block + tl.arange(0, block)
    known = row < rows
    lane = tl.arange(0, padded)[None, :]
    on_head = known[:, None] & (lane < depth)
    channel = (row % heads)[:, None] * depth + lane
    step: tl.constexpr = heads * depth
    value += image.to(tl.int64) * cells * step
    to_value += image.to(tl.int64) * cells * step
    row = image.to(tl.int64) * rows + row
    reads: tl.constexpr = len(sizes) // 2 * points
    g = tl.load(gradient + row[:, None] * depth + lane, mask=on_head, other=0.0).to(tl.float32)
    start = 0
    for level in tl.static_range(len(sizes) // 2):
        height, width = sizes[2 * level], sizes[2 * level + 1]
        for point in range(points):
            read = row * reads + level * points + point
            left, top, right, down, west, east, north, south = _corners(locations, read, known, height, width)
            weight = tl.load(weights + read, mask=known, other=0.0)
            at = (start + top * width + left)[:, None] * step + channel
            # What each corner's channels say of the gradient, one number for each row.
            d00 = tl.sum(g * _cell(value, at, north & west, on_head), 1)
            d01 = tl.sum(g * _cell(value, at + step, north & east, on_head), 1)
            d10 = tl.sum(g * _cell(value, at + width * step, south & west, on_head), 1)
            d11 = tl.sum(g * _cell(value, at + width * step + step, south & east, on_head), 1)
            above, below = d00 + right * (d01 - d00), d10 + right * (d11 - d10)
            tl.store(to_weights + read, above + down * (below - above), mask=known)
            across = (1 - down) * (d01 - d00) + down * (d11 - d10)
            tl.store(to_locations + read * 2, weight * width * across, mask=known)
            tl.store(to_locations + read * 2 + 1, weight * height * (below - above), mask=known)
            lower, upper = weight * down, weight * (1 - down)
            _add(to_value, at, g, upper * (1 - right), north & west, on_head)
            _add(to_value, at + step, g, upper * right, north & east, on_head)
            _add(to_value, at + width * step, g, lower * (1 - right), south & west, on_head)
            _add(to_value, at + width * step + step, g, lower * right, south & east, on_head)
        start += height * width


@jit
def _add(
    to_value: tl.tensor, at: tl.tensor, g: tl.tensor, share: tl.tensor, inside: tl.tensor, on_head: tl.tensor
) -> None:
    tl.atomic_add(to_value + at, share[:, None] * g, mask=inside[:, None] & on_head, sem="relaxed")


def sample(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """See `operations.sample_deformable`."""
    batch, queries, heads = weights.shape[:3]
    y = value.new_empty(batch, queries, heads * value.shape[-1])
    inputs = value.contiguous(), locations.contiguous(), weights.contiguous()
    grid, numbers = _launch(value, sizes, weights)
    _sample[grid](*inputs, y, queries * heads, value.shape[1], **numbers)
    return y


def sample_gradient(
    gradient: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See `operations.sample_deformable_gradient`.

    Sums over queries run through atomic additions, so the value's gradient is the same up to rounding only.
    """
    inputs = value.contiguous(), locations.contiguous(), weights.contiguous()
    to_value = torch.zeros(value.shape, device=value.device)
    to_locations, to_weights = torch.empty_like(inputs[1]), torch.empty_like(inputs[2])
    grid, numbers = _launch(value, sizes, weights)
    rows = weights.shape[1] * weights.shape[2]
    outputs = to_value, to_locations, to_weights
    _gradient[grid](*inputs, gradient.contiguous(), *outputs, rows, value.shape[1], **numbers)
    return to_value.to(value.dtype), to_locations, to_weights


def _launch(value: Tensor, sizes: Sequence[int], weights: Tensor) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid, and the constants of a kernel."""
    heads, depth = value.shape[2:]
    padded = power_of_two(depth)
    block = max(1, ELEMENTS // padded)
    grid = -(-weights.shape[1] * heads // block), value.shape[0]
    numbers = {
        "sizes": tuple(sizes), "heads": heads, "depth": depth, "padded": padded,
        "points": weights.shape[4], "block": block, **OPTIONS,
    }  # fmt: skip
    return grid, numbers
