"""Which way the axes of stored surface normals point, found from what a camera can see.

A surface is seen from its front: its normal and the ray to it are more than 90 deg apart. Of all ways to name
and turn the axes, only the true one makes that hold for nearly every pixel of a set: a turned z turns all
surfaces away, a turned y the floors and ceilings, a turned x the walls at the sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

FOCAL: Final = 0.9  # focal length by the width of NYU's frames, cropped (0.93) or not (0.81)
STEP: Final = 4  # [px], every which pixel is looked at
GRAZING: Final = 0.2  # cosine below which noise and the guessed focal length decide
MARGIN: Final = 0.02  # of the pixels, by which another way must be better than the one stored


@dataclass(frozen=True)
class NormalAxes:
    """From stored vectors to x right, y down, z forward: components in this order, then times these signs."""

    order: tuple[int, int, int] = (0, 1, 2)
    signs: tuple[int, int, int] = (1, 1, 1)

    def apply(self, normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stored vectors (H, W, 3) in this project's frame."""
        return normals[..., self.order] * np.array(self.signs, np.float32)

    def __str__(self) -> str:
        names = ("x", "y", "z")
        terms = (f"{'-' if s < 0 else ''}{names[i]}" for i, s in zip(self.order, self.signs, strict=True))
        return f"({', '.join(terms)})"


STORED: Final = NormalAxes()
_WAYS: Final = [
    NormalAxes(order, (x, y, z))
    for order in ((0, 1, 2), (2, 1, 0))  # the second is a picture with red and blue changed over
    for x, y, z in product((1, -1), (1, -1), (1, -1))
]


def find_axes(maps: Iterable[NDArray[np.float32]]) -> NormalAxes:
    """How to turn stored normals, maps (H, W, 3) with 0 where unknown; as stored where that is as good."""
    facing = np.zeros(len(_WAYS))
    measured = 0
    for normals in maps:
        shares = _facing(normals)
        if shares is not None:
            facing += shares
            measured += 1
    best = int(facing.argmax())
    return _WAYS[best] if facing[best] > facing[0] + MARGIN * measured else STORED


def _facing(normals: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """For each way, the share of the pixels whose surface faces the camera; None where nothing is known."""
    height, width = normals.shape[:2]
    x = (np.arange(0, width, STEP) + 0.5 - width / 2) / (FOCAL * width)
    y = (np.arange(0, height, STEP) + 0.5 - height / 2) / (FOCAL * width)
    rays = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((y.size, x.size))], axis=-1)
    seen = normals[::STEP, ::STEP]
    known = np.linalg.norm(seen, axis=-1) > 0
    if not known.any():
        return None
    shares = []
    for way in _WAYS:
        cosines = (way.apply(seen[known]) * rays[known]).sum(-1)
        clear = np.abs(cosines) > GRAZING
        shares.append(float((cosines[clear] < 0).mean()) if clear.any() else 0.0)
    return np.array(shares)
