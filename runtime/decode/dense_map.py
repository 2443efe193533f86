"""Dense maps: the output kind of depth, saliency and edges: a number per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import DenseMap
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
    return DenseMap(letterbox.map_to_image(values[0], "bilinear"), unit)
