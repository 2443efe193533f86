"""Solid textures: a colour for every point in space, so that no shape needs texture coordinates.

All kinds are open to all classes: shape must tell the class, not colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.rotations import random_rotation, rotation_z
from argus_edge.train.data.scenes.streams import Rng, log_uniform

Array = NDArray[np.float32]
Vec = tuple[Array, Array, Array]
Colour = tuple[float, float, float]  # linear RGB
Pattern = Literal["solid", "checker", "stripes", "gradient", "noise", "spots", "bricks", "marble"]

PATTERNS: Final[tuple[Pattern, ...]] = get_args(Pattern)
_MEAN: Final[dict[Pattern, float]] = {
    "bricks": 0.2,
    "spots": 0.4,
}  # brightness of a pattern seen from afar; else 0.5
_TABLE: Final = 64  # edge of the noise table; 8 table steps make one cell of its coarsest layer


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """Two colours mixed by a pattern."""

    pattern: Pattern
    first: Colour
    second: Colour
    cell: float = 1.0  # size of the pattern [m]
    turn: NDArray[np.float32] | None = None  # (3, 3) rotation of the pattern
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # [cells]
    share: float = 0.5  # of the first colour, where the pattern has a choice
    gloss: float = 0.0  # strength of the highlight, 0..1

    def colour(self, p: Vec, footprint: Array) -> Vec:
        """Linear RGB at the points p [m], each seen by a pixel of size `footprint` [m] on the surface."""
        if self.pattern == "solid":
            return vec(np.full(p[0].shape, c, np.float32) for c in self.first)
        mix = self._mix(self._to_cells(p))
        if self.pattern != "gradient":
            # Cells smaller than a pixel would flicker: fade them into their mean.
            mean = np.float32(_MEAN.get(self.pattern, 0.5))
            sharp = np.clip(np.float32(0.6 * self.cell) / footprint - np.float32(0.5), 0, 1)
            mix = mean + (mix - mean) * sharp
        r, g, b = (
            np.float32(a) + np.float32(z - a) * mix for a, z in zip(self.first, self.second, strict=True)
        )
        return r, g, b

    def _to_cells(self, p: Vec) -> Vec:
        turn = (np.eye(3) if self.turn is None else self.turn) / self.cell
        rows = [[np.float32(c) for c in row] for row in turn]
        x, y, z = (r[0] * p[0] + r[1] * p[1] + r[2] * p[2] + np.float32(s)
                   for r, s in zip(rows, self.shift, strict=True))  # fmt: skip
        return x, y, z

    def _mix(self, q: Vec) -> Array:
        """Weight of the second colour at q [cells], 0..1."""
        x, y, z = q
        mix: Array
        match self.pattern:
            case "checker":
                odd = (np.floor(x) + np.floor(y) + np.floor(z)) * np.float32(0.5)
                mix = np.float32(2) * (odd - np.floor(odd))
            case "stripes":
                mix = (x - np.floor(x) > np.float32(self.share)).astype(np.float32)
            case "gradient":
                mix = np.abs(np.float32(2) * (x - np.floor(x)) - np.float32(1))
            case "spots":
                wave = np.sin(x * np.float32(5)) + np.sin(y * np.float32(5)) + np.sin(z * np.float32(5))
                mix = np.clip(np.float32(8) * (wave - np.float32(2 * self.share - 0.6)), 0, 1)
            case "bricks":
                row = np.floor(y)
                x = (x + z) * np.float32(0.45) + np.float32(0.5) * row
                joint = np.maximum(
                    np.abs(x - np.floor(x) - np.float32(0.5)) * np.float32(1.1),
                    np.abs(y - row - np.float32(0.5)),
                )
                mix = np.clip((joint - np.float32(0.44)) * np.float32(40), 0, 1)
            case "marble":
                mix = np.float32(0.5) + np.float32(0.5) * np.sin(np.float32(3) * x + np.float32(9) * noise(q))
            case _:
                mix = np.clip(np.float32(2.4) * noise(q) - np.float32(0.7), 0, 1)
        return mix


def vec(components: Iterable[Array]) -> Vec:
    """Three arrays as a vector."""
    x, y, z = components
    return x, y, z


def noise(q: Vec) -> Array:
    """Smooth value noise of three octaves at q [cells], about 0..1."""
    table = _noise_table()
    corner, weight = [], []
    for c in q:
        c = c * np.float32(8)
        low = np.floor(c)
        weight.append(c - low)
        index = low.astype(np.int32) & (_TABLE - 1)
        corner.append((index, (index + 1) & (_TABLE - 1)))
    (x0, x1), (y0, y1), (z0, z1) = (
        (a * s, b * s) for (a, b), s in zip(corner, (_TABLE * _TABLE, _TABLE, 1), strict=True)
    )
    wx, wy, wz = weight

    def edge(base: NDArray[np.int32]) -> Array:
        return _between(table.take(base + z0), table.take(base + z1), wz)

    def face(x: NDArray[np.int32]) -> Array:
        return _between(edge(x + y0), edge(x + y1), wy)

    return _between(face(x0), face(x1), wx)


def _between(low: Array, high: Array, weight: Array) -> Array:
    value: Array = low + weight * (high - low)
    return value


@cache
def _noise_table() -> Array:
    """Periodic noise (64 * 64 * 64,): random lattices of 8, 16 and 32 cells, smooth between their points."""
    rng = np.random.Generator(np.random.Philox(key=[0, 0]))
    table = np.zeros((_TABLE,) * 3)
    for lattice, strength in ((8, 0.55), (16, 0.3), (32, 0.15)):
        layer = rng.uniform(0, 1, (lattice,) * 3)
        step = _TABLE // lattice
        weight = np.arange(step) / step
        weight = weight * weight * (3 - 2 * weight)
        for axis in range(3):
            low = np.repeat(layer, step, axis=axis)
            high = np.repeat(np.roll(layer, -1, axis=axis), step, axis=axis)
            shape = [1, 1, 1]
            shape[axis] = -1
            layer = low + (high - low) * np.tile(weight, lattice).reshape(shape)
        table += strength * layer
    return table.astype(np.float32).ravel()


def random_colour(rng: Rng) -> Colour:
    """Any colour, greys and pale ones included, as linear RGB."""
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0, 1) ** 1.3, rng.uniform(0.12, 1)
    ramp = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return linear(value * (1 - saturation * (1 - ramp)))


def linear(srgb: NDArray[np.float64] | tuple[float, float, float]) -> Colour:
    """Display RGB 0..1 -> linear RGB."""
    r, g, b = (float(c) ** 2.2 for c in srgb)
    return r, g, b


def random_texture(rng: Rng, size: float, pattern: Pattern | None = None) -> Texture:
    """A texture for a thing about `size` [m] across."""
    kind = pattern or PATTERNS[rng.choice(len(PATTERNS), p=(0.26, 0.13, 0.13, 0.11, 0.13, 0.09, 0.07, 0.08))]
    first, second = random_colour(rng), random_colour(rng)
    if rng.random() < 0.4:  # two shades of one colour, as most real patterns
        shade = rng.uniform(0.35, 0.85)
        second = (first[0] * shade, first[1] * shade, first[2] * shade)
    turn = (
        random_rotation(rng)
        if kind in ("stripes", "gradient", "noise", "marble")
        else rotation_z(rng.choice([0, 0, rng.uniform(0, 1.57)]))
    )
    cell = size * (log_uniform(rng, 0.8, 2.5) if kind == "gradient" else log_uniform(rng, 0.08, 0.7))
    shift = rng.uniform(-50, 50, 3)
    gloss = float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.6)]))
    return Texture(
        kind, first, second, cell, turn.astype(np.float32), tuple(shift), float(rng.uniform(0.3, 0.7)), gloss
    )
