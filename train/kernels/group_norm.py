"""GroupNorm on a GPU: addition before it, statistics, affine map and activation in one or two launches.

y = activation((x + added - mean) / sqrt(variance + eps) * weight + bias), with statistics in fp32 over a
group of channels and all places of one image (arXiv 1803.08494). A group that fits into the registers of one
program is read once. Larger ones are read twice: programs first take the mean and squared deviations of a
part of a group each, and every program of the second launch puts the few numbers of its groups together
(Chan, Golub, LeVeque 1983), which needs no atomics: the result is the same every time.

A tile is (groups, channels of a group, places). Which of its axes are contiguous is in the strides, so NCHW
and NHWC are the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from argus_edge.train.kernels.launch import OPTIONS, power_of_two, processors

WHOLE: Final = 32768  # elements of a group that one program keeps
TILE: Final = 4096  # elements that one program reads at a time
WIDE: Final = 256  # channels of a tile where channels are contiguous
PARTS: Final = 4  # of a map, for each multiprocessor

jit: Callable[[Callable[..., Any]], Any] = triton.jit


@jit
def _read(
    x: tl.tensor, added: tl.tensor, at: tl.tensor, inside: tl.tensor, has_added: tl.constexpr
) -> tl.tensor:
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if has_added:
        values += tl.load(added + at, mask=inside, other=0.0).to(tl.float32)
    return values


@jit
def _mean_of(values: tl.tensor, count: tl.tensor) -> tl.tensor:
    """Mean by group (groups, 1, 1) of a tile that is 0 outside."""
    return (tl.sum(tl.sum(values, 2), 1) / count)[:, None, None]


@jit
def _write(
    y: tl.tensor,
    at: tl.tensor,
    inside: tl.tensor,
    centred: tl.tensor,
    deviation: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    channel: tl.tensor,
    known: tl.tensor,
    activation: tl.constexpr,
) -> None:
    """The end of the formula; `channel` (groups, channels, 1), `deviation` (groups, 1, 1)."""
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32) / deviation
    z = centred * scale + tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    if activation == "relu":
        z = tl.maximum(z, 0.0)
    elif activation == "silu":
        z = z * tl.sigmoid(z)
    elif activation == "gelu":
        z = 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))
    tl.store(y + at, z.to(y.dtype.element_ty), mask=inside)


@jit
def _channels(
    group: tl.tensor, groups: tl.constexpr, size: tl.constexpr, padded: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Numbers (groups, channels, 1) of the channels of `group`, and which of them there are."""
    of_group = tl.arange(0, padded)[None, :, None]
    return group[:, None, None] * size + of_group, (of_group < size) & (group[:, None, None] < groups)


@jit
def _whole(
    x: tl.tensor,
    added: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    y: tl.tensor,
    places: tl.tensor,
    step_image: tl.tensor,
    step_channel: tl.tensor,
    step_place: tl.tensor,
    eps: tl.tensor,
    groups: tl.constexpr,
    size: tl.constexpr,
    padded: tl.constexpr,
    block_places: tl.constexpr,
    has_added: tl.constexpr,
    activation: tl.constexpr,
) -> None:
    """One program normalises one group of one image, read once."""
    group = tl.program_id(0) + tl.arange(0, 1)
    channel, known = _channels(group, groups, size, padded)
    place = tl.arange(0, block_places)[None, None, :]
    inside = known & (place < places)
    at = tl.program_id(1).to(tl.int64) * step_image + channel * step_channel + place * step_place
    values = _read(x, added, at, inside, has_added)
    count = (size * places).to(tl.float32)
    centred = tl.where(inside, values - _mean_of(values, count), 0.0)
    deviation = tl.sqrt(_mean_of(centred * centred, count) + eps)
    _write(y, at, inside, centred, deviation, weight, bias, channel, known, activation)


@jit
def _statistics(
    x: tl.tensor,
    added: tl.tensor,
    means: tl.tensor,
    squares: tl.tensor,
    places: tl.tensor,
    chunk: tl.tensor,
    step_image: tl.tensor,
    step_channel: tl.tensor,
    step_place: tl.tensor,
    groups: tl.constexpr,
    size: tl.constexpr,
    padded: tl.constexpr,
    block_groups: tl.constexpr,
    block_places: tl.constexpr,
    has_added: tl.constexpr,
) -> None:
    """Mean and sum of squared deviations of `chunk` places of some groups, to (image, part, group).

    Squares are of differences from the first tile's mean, so that a large mean costs no digits; sums are kept
    by element and put together once.
    """
    part, image = tl.program_id(1), tl.program_id(2)
    group = tl.program_id(0) * block_groups + tl.arange(0, block_groups)
    channel, known = _channels(group, groups, size, padded)
    base = image.to(tl.int64) * step_image + channel * step_channel
    first, place = part * chunk, tl.arange(0, block_places)[None, None, :]
    last = tl.minimum(first + chunk, places)

    inside = known & (first + place < last)
    values = _read(x, added, base + (first + place) * step_place, inside, has_added)
    near = _mean_of(values, (size * tl.minimum(block_places, last - first)).to(tl.float32))
    total = tl.where(inside, values - near, 0.0)
    square = total * total
    for start in range(first + block_places, last, block_places):
        inside = known & (start + place < last)
        values = _read(x, added, base + (start + place) * step_place, inside, has_added)
        values = tl.where(inside, values - near, 0.0)
        total += values
        square += values * values

    count = (size * (last - first)).to(tl.float32)
    moved = _mean_of(total, count)
    deviations = _mean_of(square, count) - moved * moved
    to = (image * tl.num_programs(1) + part) * groups + group[:, None, None]
    there = group[:, None, None] < groups
    tl.store(means + to, near + moved, mask=there)
    tl.store(squares + to, tl.maximum(deviations, 0.0) * count, mask=there)


@jit
def _normalise(
    x: tl.tensor,
    added: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    y: tl.tensor,
    means: tl.tensor,
    squares: tl.tensor,
    places: tl.tensor,
    chunk: tl.tensor,
    parts: tl.tensor,
    step_image: tl.tensor,
    step_channel: tl.tensor,
    step_place: tl.tensor,
    eps: tl.tensor,
    groups: tl.constexpr,
    size: tl.constexpr,
    padded: tl.constexpr,
    block_groups: tl.constexpr,
    block_places: tl.constexpr,
    block_parts: tl.constexpr,
    has_added: tl.constexpr,
    activation: tl.constexpr,
) -> None:
    """Normalise what one program of `_statistics` read, from the end: what was read last is still cached."""
    image = tl.program_id(2)
    group = tl.program_id(0) * block_groups + tl.arange(0, block_groups)
    part = tl.arange(0, block_parts)[None, :]
    found = (image * parts + part) * groups + group[:, None]
    there = (part < parts) & (group[:, None] < groups)
    count = tl.where(there, size * tl.minimum(chunk, places - part * chunk), 0).to(tl.float32)
    part_mean = tl.load(means + found, mask=there, other=0.0)
    everything = (size * places).to(tl.float32)
    mean = tl.sum(part_mean * (count / everything), 1)
    apart = part_mean - mean[:, None]
    square = tl.load(squares + found, mask=there, other=0.0) + count * apart * apart
    deviation = tl.sqrt(tl.sum(square, 1) / everything + eps)

    channel, known = _channels(group, groups, size, padded)
    base = image.to(tl.int64) * step_image + channel * step_channel
    first = (parts - 1 - tl.program_id(1)) * chunk
    last = tl.minimum(first + chunk, places)
    tiles = tl.cdiv(last - first, block_places)
    for tile in range(tiles):
        place = first + (tiles - 1 - tile) * block_places + tl.arange(0, block_places)[None, None, :]
        inside = known & (place < last)
        at = base + place * step_place
        centred = _read(x, added, at, inside, has_added) - mean[:, None, None]
        _write(y, at, inside, centred, deviation[:, None, None], weight, bias, channel, known, activation)


@dataclass(frozen=True)
class _Plan:
    """How a map is cut up."""

    padded: int  # channels of a group in a tile
    block_groups: int
    block_places: int
    parts: int  # of the places of an image, in the first launch
    chunk: int  # places of a part


def _plan(images: int, groups: int, size: int, places: int, channels_last: bool, programs: int) -> _Plan:
    padded = power_of_two(size)
    wide = max(1, WIDE // padded) if channels_last else 1
    block_groups = min(wide, power_of_two(groups))
    block_places = max(1, min(power_of_two(places), TILE // (padded * block_groups)))
    tiles = -(-places // block_places)
    rows = images * -(-groups // block_groups)
    chunk = -(-tiles // max(1, min(tiles, programs // rows))) * block_places
    return _Plan(padded, block_groups, block_places, -(-places // chunk), chunk)


def normalise(
    x: Tensor,
    added: Tensor | None,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    activation: str = "none",
) -> Tensor:
    """See `operations.group_norm`. What is neither contiguous nor channels_last is copied."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    images, channels, height, width = x.shape
    places, size = height * width, channels // groups
    y = torch.empty_like(x)
    other = x if added is None else added.contiguous(memory_format=layout)
    steps = (channels * places, 1, channels) if channels_last else (channels * places, places, 1)
    constants = {"groups": groups, "size": size, "has_added": added is not None, **OPTIONS}
    block = power_of_two(size) * power_of_two(places)
    if block <= WHOLE:
        _whole[groups, images](
            x, other, weight, bias, y, places, *steps, eps, **constants, padded=power_of_two(size),
            block_places=power_of_two(places), activation=activation, num_warps=max(1, min(16, block // 512)),
        )  # fmt: skip
        return y
    plan = _plan(images, groups, size, places, channels_last, PARTS * processors(x.device))
    constants |= {name: getattr(plan, name) for name in ("padded", "block_groups", "block_places")}
    means, squares = torch.empty(2, images, plan.parts, groups, device=x.device)
    rows = -(-groups // plan.block_groups)
    _statistics[rows, plan.parts, images](x, other, means, squares, places, plan.chunk, *steps, **constants)
    _normalise[rows, plan.parts, images](
        x, other, weight, bias, y, means, squares, places, plan.chunk, plan.parts, *steps, eps, **constants,
        block_parts=power_of_two(plan.parts), activation=activation,
    )  # fmt: skip
    return y
