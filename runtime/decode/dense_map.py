"""Dense maps: the output kind of depth, saliency and edges: a number per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import DenseMap
from argus_edge.runtime import _native
from argus_edge.runtime.decode.finite import require_finite


def decode_dense_map(outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox, unit: str) -> DenseMap:
    """A dense decoder's one output -> one value per pixel of the original image, interpolated bilinearly.

    Args:
        outputs: one map (1, S, S) float32 at the network input's resolution, padding included.
        letterbox: how the image was placed in the network input.
        unit: of the values, kept with the result; "" for a probability.

    Raises EngineError for a value that is not finite.
    """
    ((name, values),) = outputs.items()
    require_finite(name, values)
    return DenseMap(map_to_image(values[0], letterbox), unit)


def map_to_image(values: NDArray[np.floating[Any]], letterbox: Letterbox) -> NDArray[np.float32]:
    """As `letterbox.map_to_image` does bilinearly, without OpenCV, whose import costs 27 MiB."""
    found = np.empty((letterbox.image_height, letterbox.image_width), np.float32)
    resized = (letterbox.resized_height, letterbox.resized_width)
    _native.map_to_image(np.ascontiguousarray(values, np.float32), resized, found)
    return found
