"""Label maps: the output kind of semantic and part segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.geometry import Letterbox
from argus_edge.results import LabelMap

NO_CLASS: Final = 255


def decode_label_map(
    outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox, class_names: Sequence[str]
) -> LabelMap:
    """A segmenter's outputs -> one class id per pixel of the original image.

    Args:
        outputs: `labels` (1, S, S) uint8 class ids at the network input's resolution, padding included; 255
            means no class.
        letterbox: how the image was placed in the network input.
        class_names: names in the order of the class ids.

    Raises EngineError for a class without a name inside the image.
    """
    labels = outputs["labels"][0]
    inside = labels[: letterbox.resized_height, : letterbox.resized_width]
    found = inside[inside != NO_CLASS]
    if found.size and found.max() >= len(class_names):
        raise EngineError(
            f"segmenter answered with class {found.max()}, but the package names {len(class_names)}; "
            f"export it again"
        )
    return LabelMap(letterbox.map_to_image(labels, "nearest"), tuple(class_names))
