"""Label maps: the output kind of semantic and part segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import LabelMap


def decode_label_map(
    outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox, class_names: Sequence[str]
) -> LabelMap:
    """A segmenter's outputs -> one class id per pixel of the original image.

    Args:
        outputs: `labels` (1, S, S) uint8 class ids at the network input's resolution, padding included.
        letterbox: how the image was placed in the network input.
        class_names: names in the order of the class ids.
    """
    labels = letterbox.map_to_image(outputs["labels"][0], "nearest")
    return LabelMap(labels, tuple(class_names))
