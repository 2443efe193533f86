"""How an image is placed in the network's input, and how results find their way back.

Two conventions meet here. Boxes are in continuous coordinates: pixel i covers [i, i + 1), so a box around one
pixel is one pixel wide and a resize is a multiplication. Points name pixels: integer coordinates are pixel
centres, so x' + 0.5 = (x + 0.5) * scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError

__all__ = ["Interpolation", "Letterbox"]

Interpolation = Literal["nearest", "bilinear"]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """An image of (image_height, image_width) [px] in a network input of (input_height, input_width) [px].

    The image keeps its aspect: both sides are scaled by min(input_height / image_height, input_width /
    image_width) and rounded to whole pixels; it lies at the top left, and the rest is padding. Because each
    side is rounded on its own, `scale_x` and `scale_y` differ slightly. Raises InputError for a side below 1.
    """

    image_height: int
    image_width: int
    input_height: int
    input_width: int

    def __post_init__(self) -> None:
        sides = (self.image_height, self.image_width, self.input_height, self.input_width)
        if min(sides) < 1:
            raise InputError(f"image and network input must be at least 1 px on each side, got {sides}")

    @property
    def resized_height(self) -> int:
        """Height of the image inside the network input [px]."""
        return self._resized(self.image_height, self.input_height)

    @property
    def resized_width(self) -> int:
        """Width of the image inside the network input [px]."""
        return self._resized(self.image_width, self.input_width)

    @property
    def scale_x(self) -> float:
        """Network-input pixels per image pixel, horizontally."""
        return self.resized_width / self.image_width

    @property
    def scale_y(self) -> float:
        """Network-input pixels per image pixel, vertically."""
        return self.resized_height / self.image_height

    def boxes_to_image(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy in [0, 1] of the network input -> (N, 4) xyxy [px] of the image, clipped."""
        to_pixels = _pairs(self.input_width / self.scale_x, self.input_height / self.scale_y)
        limits = _pairs(self.image_width, self.image_height)
        return np.clip(_rows(boxes, 4, "boxes") * to_pixels, 0, limits).astype(np.float32)

    def boxes_to_input(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy [px] of the image -> (N, 4) xyxy in [0, 1] of the network input."""
        to_unit = _pairs(self.scale_x / self.input_width, self.scale_y / self.input_height)
        return (_rows(boxes, 4, "boxes") * to_unit).astype(np.float32)

    def points_to_image(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Points (N, 2) xy [px] of the network input -> (N, 2) xy [px] of the image."""
        scale = np.array([self.scale_x, self.scale_y], np.float64)
        return ((_rows(points, 2, "points") + 0.5) / scale - 0.5).astype(np.float32)

    def points_to_input(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Points (N, 2) xy [px] of the image -> (N, 2) xy [px] of the network input."""
        scale = np.array([self.scale_x, self.scale_y], np.float64)
        return ((_rows(points, 2, "points") + 0.5) * scale - 0.5).astype(np.float32)

    def map_to_image(self, values: NDArray[Any], interpolation: Interpolation) -> NDArray[Any]:
        """Map (input_height, input_width) -> map (image_height, image_width) of the same dtype.

        The padding is cut off, then the rest is resized with pixel centres aligned: "nearest" for class ids,
        "bilinear" for measured values (float32). Raises InputError when the map has another size.
        """
        if values.shape != (self.input_height, self.input_width):
            raise InputError(
                f"map must be ({self.input_height}, {self.input_width}) like the network input, "
                f"got {values.shape}"
            )
        inside = values[: self.resized_height, : self.resized_width]
        if interpolation == "nearest":
            rows = _nearest(self.image_height, self.resized_height)
            columns = _nearest(self.image_width, self.resized_width)
            return np.take(np.take(inside, columns, axis=1), rows, axis=0)
        import cv2  # only needed here; the contract itself imports with numpy alone

        size = (self.image_width, self.image_height)
        return cv2.resize(np.ascontiguousarray(inside), size, interpolation=cv2.INTER_LINEAR)

    def _resized(self, image_side: int, input_side: int) -> int:
        # In integers, because floor(side * scale + 0.5) in floats can miss where the product is n + 0.5.
        if self.input_height * self.image_width <= self.input_width * self.image_height:
            numerator, denominator = self.input_height, self.image_height
        else:
            numerator, denominator = self.input_width, self.image_width
        rounded = (2 * image_side * numerator + denominator) // (2 * denominator)
        return min(max(rounded, 1), input_side)


def _rows(values: NDArray[np.floating[Any]], columns: int, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != columns:
        raise InputError(f"{name} must be (N, {columns}), got {array.shape}")
    return array


def _pairs(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x, y, x, y], np.float64)


def _nearest(size: int, source_size: int) -> NDArray[np.intp]:
    """Index of the source pixel whose area holds the centre of each of `size` target pixels."""
    return (2 * np.arange(size, dtype=np.intp) + 1) * source_size // (2 * size)
