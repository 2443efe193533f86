"""Boxes: the output kind of detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import Detections
from argus_edge.runtime.decode.candidates import choose_candidates


def decode_boxes(
    outputs: Mapping[str, NDArray[Any]],
    letterbox: Letterbox,
    class_names: Sequence[str],
    score_threshold: float = 0.0,
) -> Detections:
    """A detector's outputs -> boxes in the original image.

    Args:
        outputs: `boxes` (1, K, 4) float32 xyxy in [0, 1] of the network input, `scores` (1, K) float32 in
            [0, 1], `classes` (1, K) int32 indices of `class_names`; `masks`, which an instance
            segmenter adds, are not looked at.
        letterbox: how the image was placed in the network input.
        class_names: names in the order of the class indices.
        score_threshold: candidates below it are left out.

    Returns the candidates that are left, best first, clipped to the image. One with nothing inside the image
    (it lay in the padding) or with a number that is not finite is left out too. Raises EngineError for a
    class without a name.
    """
    _, boxes, scores, classes = choose_candidates(outputs, letterbox, len(class_names), score_threshold)
    return Detections(boxes, scores, classes, tuple(class_names))
