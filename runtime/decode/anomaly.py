"""Anomaly maps: the output kind of anomaly detection.

Source: SimpleNet (arXiv 2303.15140, section 3.5 and its published code): the map is interpolated and smoothed
with a Gaussian of 4 px; the image's score is the greatest of the locations, before either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.geometry import Letterbox
from argus_edge.results import AnomalyMap
from argus_edge.runtime.decode.finite import require_finite

SIGMA: Final = 4.0  # of the smoothing, in pixels of the network input
REACH: Final = 4 * 4  # [px], four sigmas: where scipy's gaussian_filter, which the source uses, ends


def decode_anomaly(
    outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox, categories: Sequence[str]
) -> AnomalyMap:
    """An anomaly decoder's output -> the anomaly of every pixel of the original image, and of the image.

    Args:
        outputs: `maps` (1, C, h, w) float32, larger is stranger, over the whole network input, usually at an
            eighth of its size.
        letterbox: how the image was placed in the network input.
        categories: C names in the order of the maps.

    Only the image counts, not the padding, which is strange to every category: a location whose centre is in
    it has no part in the score, and none in what interpolation and smoothing make of the others. Raises
    EngineError for another number of maps than categories, or a value that is not finite.
    """
    coarse = outputs["maps"][0]
    if len(coarse) != len(categories):
        raise EngineError(
            f"anomaly decoder answered with {len(coarse)} maps, but the package names {len(categories)} "
            f"categories; export it again"
        )
    require_finite("maps", coarse)
    rows = _centres_inside(coarse.shape[1], letterbox.input_height, letterbox.resized_height)
    columns = _centres_inside(coarse.shape[2], letterbox.input_width, letterbox.resized_width)
    padding = ((0, 0), (0, coarse.shape[1] - rows), (0, coarse.shape[2] - columns))
    coarse = np.pad(coarse[:, :rows, :columns].astype(np.float32), padding, mode="edge")
    scores = coarse.max(axis=(1, 2))
    maps = np.empty((len(coarse), letterbox.image_height, letterbox.image_width), np.float32)
    for smoothed, values in zip(maps, coarse, strict=True):
        smoothed[:] = _smoothed(values, letterbox)
    return AnomalyMap(maps, scores, tuple(categories))


def _centres_inside(cells: int, input_side: int, resized_side: int) -> int:
    """How many of the cells that divide the input's side have their centre in the image, at least one."""
    return max(1, math.ceil(resized_side * cells / input_side - 0.5))


def _smoothed(values: NDArray[np.float32], letterbox: Letterbox) -> NDArray[np.float32]:
    """Coarse map (h, w) over the network input -> (image_height, image_width)."""
    import cv2

    size = (letterbox.input_width, letterbox.input_height)
    full = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
    inside = full[: letterbox.resized_height, : letterbox.resized_width]
    kernel = (2 * REACH + 1, 2 * REACH + 1)
    inside[:] = cv2.GaussianBlur(inside.copy(), kernel, SIGMA, borderType=cv2.BORDER_REFLECT)
    return letterbox.map_to_image(full, "bilinear")
