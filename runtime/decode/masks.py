"""Masks: the output kind of instance segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import Instances
from argus_edge.runtime import _native
from argus_edge.runtime.decode.candidates import choose_candidates
from argus_edge.runtime.decode.sides import sides


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
    masks, areas = masks_to_image(logits, found.indices, letterbox)
    found = found.of(areas > 0)
    return Instances(found.boxes, found.scores, found.classes, tuple(class_names), masks)


def masks_to_image(
    logits: NDArray[np.floating[Any]], chosen: NDArray[np.intp], letterbox: Letterbox
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Finite mask logits (K, h, w) over the network input -> those `chosen` (N,), in the image.

    In the order of the published evaluations: up to the network input, padding off, on to the image, both
    steps bilinear with pixel centres aligned; a pixel belongs to the mask where that is positive.

    Returns the masks (M, image_height, image_width) that have a pixel, and how many each of the N has: 0 for
    those that are not among the M.
    """
    masks = np.zeros((len(chosen), letterbox.image_height, letterbox.image_width), np.bool_)
    areas = np.empty(len(chosen), np.int64)
    logits = np.ascontiguousarray(logits, np.float32)
    _native.masks_to_image(logits, chosen.astype(np.int64), *sides(letterbox), masks.view(np.uint8), areas)
    return masks[: np.count_nonzero(areas)], areas
