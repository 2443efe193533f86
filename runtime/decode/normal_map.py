"""Normal maps: the output kind of surface normals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import NormalMap
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
    normals = np.stack([letterbox.map_to_image(plane, "bilinear") for plane in planes], axis=-1)
    lengths = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
    normals /= np.maximum(lengths, np.float32(SHORTEST))
    normals *= lengths > SHORTEST
    return NormalMap(normals)
