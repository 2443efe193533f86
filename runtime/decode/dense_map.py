"""Dense maps: the output kind of depth and whatever else gives a number per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import DenseMap


def decode_dense_map(outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox, unit: str) -> DenseMap:
    """A dense decoder's one output -> one value per pixel of the original image, interpolated bilinearly.

    Args:
        outputs: one map (1, S, S) float32 at the network input's resolution, padding included.
        letterbox: how the image was placed in the network input.
        unit: of the values, kept with the result.
    """
    (values,) = outputs.values()
    return DenseMap(letterbox.map_to_image(values[0], "bilinear"), unit)
