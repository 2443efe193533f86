"""Normal maps: the output kind of surface normals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import NormalMap
from argus_edge.runtime import _native
from argus_edge.runtime.decode.finite import require_finite

SHORTEST: Final = 1e-6  # below it a vector has no direction


def decode_normal_map(outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox) -> NormalMap:
    """A normals decoder's output -> one direction per pixel of the original image.

    The components are interpolated bilinearly and brought back to length 1. A letterbox scales both axes
    alike (to half a pixel), so the directions themselves stay as they are.

    Args:
        outputs: `normals` (1, 3, S, S) float32 in the camera's frame, at the network input's resolution,
            padding included.
        letterbox: how the image was placed in the network input.

    A pixel at which opposite directions cancel has the vector 0. Raises EngineError for a value that is not
    finite.
    """
    planes = outputs["normals"][0]
    require_finite("normals", planes)
    return NormalMap(normals_to_image(planes, letterbox))


def normals_to_image(planes: NDArray[np.floating[Any]], letterbox: Letterbox) -> NDArray[np.float32]:
    """Planes (3, input_height, input_width) -> (image_height, image_width, 3) of length 1 or 0."""
    normals = np.empty((letterbox.image_height, letterbox.image_width, 3), np.float32)
    resized = (letterbox.resized_height, letterbox.resized_width)
    _native.normals_to_image(np.ascontiguousarray(planes, np.float32), resized, SHORTEST, normals)
    return normals
