"""Photometric distortion: what another light or camera would have made of the same picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Colours:
    """How far colours may stray; the defaults as in SSD (arXiv 1512.02325) and mmsegmentation."""

    brightness: float = 32.0  # levels, each way
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 36.0  # [deg], each way
    chance: float = 0.5  # of each of the four


def distort(image: NDArray[np.uint8], colours: Colours, rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image (H, W, 3) uint8 RGB with random brightness, contrast, saturation and hue.

    The contrast changes before saturation and hue or after them, as chance has it.
    """
    levels = np.arange(256, dtype=np.float32)
    first = levels
    if rng.random() < colours.chance:
        first = _clipped(first + rng.uniform(-colours.brightness, colours.brightness))
    contrast = rng.uniform(*colours.contrast) if rng.random() < colours.chance else 1.0
    early = rng.random() < 0.5
    if early:
        first = _clipped(first * contrast)
    if first is not levels:
        image = _looked_up(image, first)
    image = _hue_and_saturation(image, colours, rng)
    return image if early or contrast == 1.0 else _looked_up(image, _clipped(levels * contrast))


def _hue_and_saturation(
    image: NDArray[np.uint8], colours: Colours, rng: np.random.Generator
) -> NDArray[np.uint8]:
    saturated, turned = rng.random(2) < colours.chance
    if not (saturated or turned):
        return image
    hue, saturation = np.arange(256, dtype=np.float32), np.arange(256, dtype=np.float32)
    if saturated:
        saturation = _clipped(saturation * rng.uniform(*colours.saturation))
    if turned:  # OpenCV's 8 bits hold the hue in steps of 2 degrees
        hue = (hue + round(rng.uniform(-colours.hue, colours.hue) / 2)) % 180
    table = np.stack([hue, saturation, np.arange(256)], axis=-1).astype(np.uint8)[None]
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _clipped(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped: NDArray[np.float32] = levels.clip(0, 255)
    return clipped


def _looked_up(image: NDArray[np.uint8], levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(cv2.LUT(image, levels.round().astype(np.uint8)), np.uint8)
