"""What `preprocess` does, in plain numpy: one matrix resizes the rows, another the columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.runtime.preprocess import PixelFormat, to_rgb
from argus_edge.spec import ImageSpec


def preprocess_reference(
    image: NDArray[np.uint8], spec: ImageSpec, pixel_format: PixelFormat = "rgb"
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Arguments, answer and errors are those of `preprocess`; OpenCV converts the camera's formats."""
    image = to_rgb(image, pixel_format)
    letterbox = Letterbox(image.shape[0], image.shape[1], spec.height, spec.width)
    rows = _triangle_weights(letterbox.image_height, letterbox.resized_height)
    columns = _triangle_weights(letterbox.image_width, letterbox.resized_width)
    resized = np.einsum("yh,hwc->ywc", rows, image.astype(np.float64), optimize=True)
    resized = np.einsum("xw,ywc->yxc", columns, resized, optimize=True)
    tensor = np.empty((1, spec.height, spec.width, 3), np.uint8)
    tensor[:] = spec.pad_color
    tensor[0, : letterbox.resized_height, : letterbox.resized_width] = np.floor(resized + 0.5)
    return tensor, letterbox


def _triangle_weights(source_size: int, target_size: int) -> NDArray[np.float64]:
    """Weights (target_size, source_size), rows adding up to 1, of the antialiased triangle filter."""
    step = source_size / target_size
    radius = max(step, 1.0)
    centres = (np.arange(target_size) + 0.5) * step
    distances = np.abs(np.arange(source_size) + 0.5 - centres[:, None]) / radius
    weights = np.maximum(0.0, 1.0 - distances)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
