"""Renders a surface: make the material, damage it, light it, expose it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.train.data.scenes.render import Size, check_seed, check_size
from argus_edge.train.data.scenes.streams import Rng
from argus_edge.train.data.surfaces.defects import DEFECTS, damage
from argus_edge.train.data.surfaces.materials import SURFACE_CATEGORIES, Array, Sheet, make_sheet

_MATERIAL, _LIGHT, _SENSOR, _DEFECT = range(4)  # streams of random numbers
_AMBIENT: Final = np.float32(0.3)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A picture of a material from straight above, and where it is damaged."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.bool_]  # (H, W) the defect; nowhere on a whole surface
    category: str  # one of SURFACE_CATEGORIES
    defect: str | None  # one of DEFECTS, None on a whole surface


def render_surface(seed: int, category: str, defective: bool, size: Size = 320) -> Surface:
    """The surface of a seed; the same call gives the same picture to the last bit.

    The whole and the defective surface of a seed are the same piece under the same light, so away from the
    defect their pictures are equal.

    Args:
        seed: any number from 0.
        category: one of SURFACE_CATEGORIES.
        defective: whether it has a defect; the seed decides which of DEFECTS.
        size: edge of a square image or (height, width), 64 to 1280 [px].

    Raises:
        InputError: an argument is not one of these.
    """
    if category not in SURFACE_CATEGORIES:
        raise InputError(
            f"unknown surface category '{category}'; expected one of {', '.join(SURFACE_CATEGORIES)}"
        )
    check_seed(seed)
    shape = check_size(size)

    def stream(name: int) -> Rng:
        place = SURFACE_CATEGORIES.index(category)
        return np.random.Generator(np.random.Philox(key=[seed, name], counter=[0, 0, 0, place]))

    sheet = make_sheet(category, stream(_MATERIAL), shape)
    mask, defect = np.zeros(shape, bool), None
    if defective:
        rng = stream(_DEFECT)
        defect = DEFECTS[rng.integers(len(DEFECTS))]
        mask = damage(sheet, defect, rng)
    image = _expose(_light(sheet, stream(_LIGHT)), stream(_SENSOR))
    return Surface(image, mask, category, defect)


def _light(sheet: Sheet, rng: Rng) -> Array:
    """Linear light (H, W, 3) that reaches the camera from a lamp at one side: Lambert with a highlight."""
    down, across = np.gradient(sheet.height)
    slope_x, slope_y = -np.float32(sheet.side) * across, -np.float32(sheet.side) * down
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0)
    far = 3.0
    lamp = far * np.array([
        np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation),
    ])  # fmt: skip
    height, width = sheet.x.shape
    x = np.float32(lamp[0] + 0.5 * width / sheet.side) - sheet.x
    y = np.float32(lamp[1] + 0.5 * height / sheet.side) - sheet.y
    z = np.float32(lamp[2])
    inverse = np.float32(1) / np.sqrt(x * x + y * y + z * z)
    lx, ly, lz = x * inverse, y * inverse, z * inverse
    steep = np.float32(1) / np.sqrt(slope_x * slope_x + slope_y * slope_y + np.float32(1))
    lit = np.maximum((slope_x * lx + slope_y * ly + lz) * steep, 0)
    # Blinn's highlight, with the eye straight above.
    hz = lz + np.float32(1)
    along = np.maximum((slope_x * lx + slope_y * ly + hz) * steep, 0)
    bounce = along * along / (lx * lx + ly * ly + hz * hz)
    for _ in range(4):
        bounce = bounce * bounce
    fall = np.float32(far * far) * inverse * inverse
    diffuse = _AMBIENT + np.float32(0.9) * lit * fall
    light: Array = sheet.albedo * diffuse[..., None] + (sheet.gloss * bounce * fall)[..., None]
    return light


def _expose(light: Array, rng: Rng) -> NDArray[np.uint8]:
    """Linear light (H, W, 3) -> display RGB: exposure, a slight blur, a curve of gamma 2, noise."""
    gain = (rng.uniform(0.85, 1.15) * rng.uniform(0.97, 1.03, 3)).astype(np.float32)
    light = np.asarray(cv2.GaussianBlur(light, (3, 3), rng.uniform(0.3, 0.7)), np.float32)
    levels = np.float32(255) * np.sqrt(np.minimum(light * gain, np.float32(1)))
    grain = rng.standard_normal(levels.shape, np.float32) * np.float32(rng.uniform(1, 3))
    image: NDArray[np.uint8] = np.clip(levels + grain + np.float32(0.5), 0, 255).astype(np.uint8)
    return image
