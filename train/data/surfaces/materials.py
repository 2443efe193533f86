"""What the surfaces are made of: colour, relief and gloss of wood, metal, fabric, tiles and leather.

Places are in units of the picture's shorter side. Every seed has its own shades, spacing and direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.streams import Rng
from argus_edge.train.data.scenes.textures import noise

Array = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class Sheet:
    """A piece of material as seen from straight above. Defects change it in place."""

    x: Array  # (H, W) to the right, from the left edge
    y: Array  # (H, W) down, from the upper edge
    albedo: Array  # (H, W, 3) linear RGB
    height: Array  # (H, W) towards the camera
    gloss: Array  # (H, W) strength of the highlight

    @property
    def side(self) -> int:
        """The picture's shorter side [px]."""
        return int(min(self.x.shape))


def make_sheet(category: str, rng: Rng, shape: tuple[int, int]) -> Sheet:
    """A piece of one of SURFACE_CATEGORIES, `shape` = (height, width) [px]."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    side = np.float32(min(shape))
    sheet = Sheet(
        (x + np.float32(0.5)) / side,
        (y + np.float32(0.5)) / side,
        np.empty((*shape, 3), np.float32),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
    )
    _MATERIALS[category](sheet, rng)
    return sheet


def _wood(sheet: Sheet, rng: Rng) -> None:
    """Boards with year rings and fibres along the grain."""
    along, across = _turned(sheet, rng, rng.choice([0.0, 0.5 * np.pi]) + rng.normal(0, 0.04))
    board = across / np.float32(rng.uniform(0.3, 0.5))
    number = np.floor(board).astype(np.intp)
    along = along + _per_index(rng, number, 0.0, 9.0)
    wave = noise(_at(rng, along * np.float32(0.3), across * np.float32(0.8)))
    rings = across * np.float32(rng.uniform(8, 16)) + np.float32(rng.uniform(3, 6)) * wave
    ring = np.float32(0.5) + np.float32(0.5) * np.sin(np.float32(2 * np.pi) * rings)
    fibre = noise(_at(rng, along, across * np.float32(22)))
    seam = _line(board, np.float32(0.012))
    shade = _per_index(rng, number, 0.85, 1.1) * (np.float32(1) - np.float32(0.75) * seam)
    colours = _hues(rng, (0.80, 0.58, 0.36), 0.06), _hues(rng, (0.55, 0.34, 0.18), 0.06)
    mix = np.float32(0.15) + np.float32(0.5) * ring * ring + np.float32(0.5) * (fibre - np.float32(0.35))
    sheet.albedo[:] = _blend(*colours, mix) * shade[..., None]
    sheet.height[:] = np.float32(0.001) * fibre - np.float32(0.006) * seam
    sheet.gloss[:] = np.float32(rng.uniform(0.05, 0.15))


def _metal(sheet: Sheet, rng: Rng) -> None:
    """Brushed: fine streaks in one direction under a bright highlight."""
    along, across = _turned(sheet, rng, rng.choice([0.0, 0.5 * np.pi]) + rng.normal(0, 0.03))
    streak = noise(_at(rng, along * np.float32(0.6), across * np.float32(40)))
    cloud = noise(_at(rng, along * np.float32(0.5), across * np.float32(0.7)))
    tone = np.float32(0.72) + np.float32(0.34) * streak + np.float32(0.16) * cloud
    sheet.albedo[:] = _hues(rng, (0.62, 0.63, 0.65), 0.04) * tone[..., None]
    sheet.height[:] = np.float32(0.0004) * streak
    sheet.gloss[:] = np.float32(rng.uniform(0.3, 0.5))


def _fabric(sheet: Sheet, rng: Rng) -> None:
    """Plain weave of two yarns: each goes over and under the other by turns."""
    u, v = _turned(sheet, rng, rng.uniform(0, np.pi))
    sway = noise(_at(rng, u * np.float32(0.7), v * np.float32(0.7)))
    count = np.float32(rng.uniform(24, 34))
    u, v = count * u + np.float32(1.2) * sway, count * v - np.float32(1.2) * sway
    column, row = np.floor(u), np.floor(v)
    off_u, off_v = np.float32(2) * (u - column) - np.float32(1), np.float32(2) * (v - row) - np.float32(1)
    warp_above = ((column + row) % 2 == 0).astype(np.float32)
    round_u, round_v = np.float32(1) - off_u * off_u, np.float32(1) - off_v * off_v
    column_tone = _per_index(rng, column.astype(np.intp), 0.85, 1.1)
    row_tone = _per_index(rng, row.astype(np.intp), 0.85, 1.1)
    tone = warp_above * column_tone + (np.float32(1) - warp_above) * row_tone
    crown = np.sqrt(round_u) * (np.float32(0.4) + np.float32(0.6) * round_v) * warp_above
    crown += np.sqrt(round_v) * (np.float32(0.4) + np.float32(0.6) * round_u) * (np.float32(1) - warp_above)
    base = rng.uniform(0.3, 0.75, 3)
    colours = _hues(rng, base, 0.03), _hues(rng, base * rng.uniform(0.75, 0.95), 0.03)
    sheet.albedo[:] = (
        _blend(*colours, warp_above) * (tone * (np.float32(0.55) + np.float32(0.45) * crown))[..., None]
    )
    sheet.height[:] = np.float32(0.004) * crown
    sheet.gloss[:] = 0


def _tiles(sheet: Sheet, rng: Rng) -> None:
    """Glazed squares with rounded edges in dull grout."""
    u, v = _turned(sheet, rng, rng.normal(0, 0.05))
    count = np.float32(rng.uniform(2.6, 4.4))
    u, v = count * u, count * v
    column, row = np.floor(u).astype(np.intp), np.floor(v).astype(np.intp)
    tone = _per_index(rng, 7 * column + row, 0.9, 1.08)
    inner = np.minimum(np.minimum(u - column, column + 1 - u), np.minimum(v - row, row + 1 - v)).astype(
        np.float32
    )
    tile = _step((inner - np.float32(0.03)) / np.float32(0.012))
    edge = np.clip((inner - np.float32(0.03)) / np.float32(0.04), 0, 1)
    cloud = noise(_at(rng, u * np.float32(0.8), v * np.float32(0.8)))
    grain = noise(_at(rng, u * np.float32(9), v * np.float32(9)))
    glaze = (
        _hues(rng, rng.uniform(0.45, 0.85, 3), 0.0)
        * ((np.float32(0.8) + np.float32(0.4) * cloud) * tone)[..., None]
    )
    grout = _hues(rng, (0.55, 0.54, 0.52), 0.08) * (np.float32(0.7) + np.float32(0.6) * grain)[..., None]
    sheet.albedo[:] = grout + (glaze - grout) * tile[..., None]
    sheet.height[:] = np.float32(0.008) * edge * (np.float32(2) - edge) + np.float32(0.0008) * cloud
    sheet.gloss[:] = np.float32(rng.uniform(0.15, 0.35)) * tile


def _leather(sheet: Sheet, rng: Rng) -> None:
    """Small round cells with creases between them."""
    cell = rng.uniform(0.028, 0.04) * sheet.side  # [px]
    height, width = sheet.x.shape
    grid = np.mgrid[-1 : height / cell + 1, -1 : width / cell + 1]
    centres = ((grid + rng.uniform(0.1, 0.9, grid.shape)) * cell).astype(np.intp)
    rows, columns = centres.reshape(2, -1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    dots = np.ones((height, width), np.uint8)
    dots[rows[inside], columns[inside]] = 0
    away = cv2.distanceTransform(dots, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / np.float32(cell)
    crease = np.minimum(np.float32(1.6) * away * away, 1)
    cloud = noise(_at(rng, sheet.x * np.float32(0.5), sheet.y * np.float32(0.5)))
    grain = noise(_at(rng, sheet.x * np.float32(12), sheet.y * np.float32(12)))
    tone = (np.float32(1.05) - np.float32(0.5) * crease) * (np.float32(0.75) + np.float32(0.5) * cloud)
    sheet.albedo[:] = _hues(rng, (0.50, 0.31, 0.20), 0.08) * tone[..., None]
    sheet.height[:] = np.float32(-0.006) * crease + np.float32(0.0008) * grain
    sheet.gloss[:] = np.float32(rng.uniform(0.05, 0.15))


_MATERIALS: Final[dict[str, Callable[[Sheet, Rng], None]]] = {
    "wood": _wood,
    "metal": _metal,
    "fabric": _fabric,
    "tiles": _tiles,
    "leather": _leather,
}
SURFACE_CATEGORIES: Final = tuple(_MATERIALS)


def _turned(sheet: Sheet, rng: Rng, angle: float) -> tuple[Array, Array]:
    """Places (H, W) along and across a direction, from a random origin."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    shift_u, shift_v = rng.uniform(20, 40, 2).astype(np.float32)
    return cos * sheet.x + sin * sheet.y + shift_u, cos * sheet.y - sin * sheet.x + shift_v


def _at(rng: Rng, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """Points of a random plane in the noise."""
    return u, v, np.full_like(u, rng.uniform(0, 64))


def _per_index(rng: Rng, index: NDArray[np.intp], low: float, high: float) -> Array:
    """A random number for each index."""
    return rng.uniform(low, high, 64).astype(np.float32)[index % 64]


def _line(position: Array, half: np.float32) -> Array:
    """1 within `half` of a whole number, falling to 0 over as much again."""
    return _step(np.float32(2) - np.abs(position - np.round(position)) / half)


def _step(value: Array) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(value, 0, 1)
    smooth: Array = x * x * (np.float32(3) - np.float32(2) * x)
    return smooth


def _blend(first: Array, second: Array, mix: Array) -> Array:
    """Colours (3,) mixed: (H, W, 3)."""
    blended: Array = first + (second - first) * np.clip(mix, 0, 1)[..., None]
    return blended


def _hues(rng: Rng, srgb: tuple[float, float, float] | NDArray[np.float64], spread: float) -> Array:
    """A display colour, varied by a common and a smaller separate amount, as linear RGB (3,)."""
    colour = np.array(srgb) + rng.uniform(-spread, spread) + rng.uniform(-0.4 * spread, 0.4 * spread, 3)
    return np.square(np.clip(colour, 0.05, 0.95)).astype(np.float32)
