"""One geometric transform of a picture with all its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.geometry import Letterbox
from argus_edge.runtime import _native
from argus_edge.spec import ImageSpec
from argus_edge.train.data.example import IGNORE
from argus_edge.train.data.heatmaps import Floats, map_points, unmap_points

Size = tuple[int, int]
"""Height and width [px]."""

GREY: Final = ImageSpec(1, 1).pad_color
"""What surrounds a picture, in RGB; the runtime has the same."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A picture is turned about its middle; a window of it is resized, mirrored and laid at the top left.

    Boxes and points are xy [px] in continuous coordinates: pixel i covers [i, i + 1). Raises InputError for a
    window that is empty or leaves the picture, and for a target that is empty or leaves the input.
    """

    source: Size  # of the picture
    window: tuple[int, int, int, int]  # xyxy [px] of the turned picture
    target: Size  # of the window after resizing
    size: Size  # of the network's input
    mirrored: bool = False
    angle: float = 0.0  # [deg], clockwise as seen in the image

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.window
        inside = 0 <= x0 < x1 <= self.source[1] and 0 <= y0 < y1 <= self.source[0]
        if not inside or not all(0 < t <= s for t, s in zip(self.target, self.size, strict=True)):
            raise InputError(
                f"window {self.window} must lie in a picture of {self.source}, and what it becomes, "
                f"{self.target}, in the input of {self.size}; all of at least 1 px"
            )

    @classmethod
    def letterbox(cls, source: Size, size: Size) -> Placement:
        """As the runtime places pictures of size `source`; raises InputError for a side below 1."""
        box = Letterbox(*source, *size)
        return cls(source, (0, 0, source[1], source[0]), (box.resized_height, box.resized_width), size)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine map (2, 3) from the picture to the input, in continuous coordinates."""
        matrix: NDArray[np.float64] = self._resizing @ np.concatenate([self._turn(0.0), [[0, 0, 1]]])
        if self.mirrored:
            matrix[0] *= -1
            matrix[0, 2] += self.target[1]
        return matrix

    @property
    def scale(self) -> float:
        """Input pixels per picture pixel: the geometric mean of both axes."""
        return float(np.sqrt(np.prod(self._scales)))

    @property
    def zoom(self) -> float:
        """How many times as large as by the runtime the picture is shown."""
        return self.scale / Placement.letterbox(self.source, self.size).scale

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image (h, w, 3) uint8 RGB -> (H, W, 3), by the antialiased filter of the runtime."""
        placed = np.empty((*self.size, 3), np.uint8)
        # The runtime's own filter: shrinking, it costs less than cv2's INTER_AREA; warpAffine knows none.
        _native.letterbox(self._window_of(self._turned(image)), placed, *self.target, GREY)
        if self.mirrored:
            shown = placed[: self.target[0], : self.target[1]]
            shown[:] = cv2.flip(shown, 1)
        return placed

    def labels(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """A map (h, w) or (h, w, C) -> (H, W) or (H, W, C), nearest pixels; `fill` is around it."""
        return self._framed(self._resized(values, fill), fill)

    def masks(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (h, w) -> (H, W), nearest pixels."""
        placed: NDArray[np.bool_] = self.labels(mask.view(np.uint8), 0).view(np.bool_)
        return placed

    def edges(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A map of thin lines (h, w), 1 on them, 255 = ignore -> (H, W); no line is lost by shrinking."""
        placed = self._resized(values, IGNORE)
        rows, columns = np.nonzero(values == 1)
        turned = map_points(np.stack([columns, rows], axis=1) + 0.5, self._turn(0.0))
        x, y = np.floor(map_points(turned, self._resizing)).astype(np.int64).T
        inside = (x >= 0) & (y >= 0) & (x < self.target[1]) & (y < self.target[0])
        placed[y[inside], x[inside]] = 1
        return self._framed(placed, IGNORE)

    def normals(self, normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normals (h, w, 3), x right, y down, 0 = unknown -> (H, W, 3); the vectors turn along."""
        placed = self.labels(normals, 0)
        if self.angle:
            placed[..., :2] = placed[..., :2] @ self._turn(0.0)[:, :2].T.astype(np.float32)
        if self.mirrored:
            placed[..., 0] *= -1
        return placed

    def points(self, points: Floats) -> NDArray[np.float64]:
        """Points (N, 2) of the picture -> (N, 2) of the input; they may lie outside of it."""
        return map_points(points, self.matrix)

    def boxes(self, boxes: Floats) -> NDArray[np.float64]:
        """Boxes (N, 4) xyxy of the picture -> (N, 4) around what of them is in the input; area 0 for none."""
        corners = self.points(np.asarray(boxes)[:, [[0, 1], [2, 1], [0, 3], [2, 3]]].reshape(-1, 2))
        corners = corners.reshape(-1, 4, 2).clip(0, self.target[::-1])
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    @property
    def _scales(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.window
        return self.target[1] / (x1 - x0), self.target[0] / (y1 - y0)

    @property
    def _resizing(self) -> NDArray[np.float64]:
        (x, y), (x0, y0) = self._scales, self.window[:2]
        return np.array([[x, 0, -x * x0], [0, y, -y * y0]], np.float64)

    def _turn(self, first: float) -> NDArray[np.float64]:
        """The turn (2, 3) about the picture's middle; `first` is where the first pixel's centre counts as."""
        cos, sin = np.cos(np.deg2rad(self.angle)), np.sin(np.deg2rad(self.angle))
        turn = np.array([[cos, -sin], [sin, cos]])
        middle = np.array(self.source[::-1]) / 2 - first
        return np.concatenate([turn, (middle - turn @ middle)[:, None]], axis=1)

    def _window_of(self, values: NDArray[Any]) -> NDArray[Any]:
        x0, y0, x1, y1 = self.window
        return values[y0:y1, x0:x1]

    def _turned(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The whole picture, turned; its corners are lost."""
        if not self.angle:
            return image
        turned = cv2.warpAffine(
            np.ascontiguousarray(image),
            self._turn(0.5),
            self.source[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=GREY,
        )
        return np.asarray(turned, np.uint8)

    def _resized(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """The window at its target size, not yet mirrored; a copy."""
        if self.angle:
            return self._sampled(values, fill)
        window = np.ascontiguousarray(self._window_of(values))
        resized = cv2.resize(window, self.target[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(resized, values.dtype)

    def _sampled(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """The same of a turned picture. By index, as warpAffine rounds otherwise for another type."""
        rows, columns = np.mgrid[: self.target[0], : self.target[1]] + 0.5
        turned = unmap_points(np.stack([columns.ravel(), rows.ravel()], axis=1), self._resizing)
        x, y = np.floor(unmap_points(turned, self._turn(0.0))).astype(np.intp).T
        inside = (x >= 0) & (y >= 0) & (x < self.source[1]) & (y < self.source[0])
        sampled = np.full((len(x), *values.shape[2:]), fill, values.dtype)
        sampled[inside] = values[y[inside], x[inside]]
        return sampled.reshape(*self.target, *values.shape[2:])

    def _framed(self, placed: NDArray[Any], fill: float) -> NDArray[Any]:
        height, width = self.target
        framed = np.full((*self.size, *placed.shape[2:]), fill, placed.dtype)
        framed[:height, :width] = placed[:, ::-1] if self.mirrored else placed
        return framed
