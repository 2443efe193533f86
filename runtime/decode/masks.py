"""Masks: the output kind of instance segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import Instances
from argus_edge.runtime.decode.candidates import choose_candidates


def decode_masks(
    outputs: Mapping[str, NDArray[Any]],
    letterbox: Letterbox,
    class_names: Sequence[str],
    score_threshold: float = 0.0,
) -> Instances:
    """An instance segmenter's outputs -> boxes and masks in the original image.

    Args:
        outputs: `boxes` (1, K, 4) float32 xyxy in [0, 1] of the network input, `scores` (1, K) float32 in
            [0, 1], `classes` (1, K) int32 indices of `class_names`, `masks` (1, K, h, w) float32
            logits over the whole network input, usually at a quarter of its size.
        letterbox: how the image was placed in the network input.
        class_names: names in the order of the class indices.
        score_threshold: candidates below it are left out.

    Returns the candidates that are left, best first, their boxes clipped to the image. One whose box or mask
    has nothing inside the image, or with a number that is not finite, is left out too. Raises EngineError
    for a class without a name.
    """
    logits = outputs["masks"][0]
    found = choose_candidates(outputs, letterbox, len(class_names), score_threshold, logits)
    masks = np.empty((len(found.indices), letterbox.image_height, letterbox.image_width), np.bool_)
    for mask, index in zip(masks, found.indices, strict=True):
        np.greater(logits_to_image(logits[index], letterbox), 0, out=mask)
    seen = np.asarray(masks.any(axis=(1, 2)))
    if not seen.all():
        masks, found = masks[seen], found.of(seen)
    return Instances(found.boxes, found.scores, found.classes, tuple(class_names), masks)


def logits_to_image(logits: NDArray[np.floating[Any]], letterbox: Letterbox) -> NDArray[np.float32]:
    """Finite mask logits (h, w) over the network input -> (image_height, image_width) float32.

    In the order of the published evaluations: up to the network input, padding off, on to the image, both
    steps bilinear with pixel centres aligned. Thresholding comes after it.
    """
    import cv2

    size = (letterbox.input_width, letterbox.input_height)
    full = cv2.resize(np.asarray(logits, np.float32), size, interpolation=cv2.INTER_LINEAR)
    return letterbox.map_to_image(full, "bilinear")
