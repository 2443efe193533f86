"""What the compiled parts of decoding do, in numpy and OpenCV; arguments and answers are theirs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.runtime.decode.normal_map import SHORTEST

Floats = NDArray[np.floating[Any]]


def logits_to_image(logits: Floats, letterbox: Letterbox) -> NDArray[np.float32]:
    """(h, w) over the network input -> (image_height, image_width)."""
    size = (letterbox.input_width, letterbox.input_height)
    full = cv2.resize(np.asarray(logits, np.float32), size, interpolation=cv2.INTER_LINEAR)
    return letterbox.map_to_image(full, "bilinear")


def _linear(x: Floats, size: int, rows: slice = slice(None)) -> Floats:
    """Bilinear resize of the first axis to `size`, of which `rows`: pixel centres aligned, edges repeated."""
    at = np.clip((np.arange(size)[rows] + 0.5) * len(x) / size - 0.5, 0, len(x) - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(x) - 1)
    part = (at - low)[:, None]
    return np.asarray(x[low] * (1 - part) + x[high] * part)


def exact_logits(logits: Floats, letterbox: Letterbox, rows: slice = slice(None)) -> Floats:
    """The `rows` of `logits_to_image`, brute force in float64."""
    full = _linear(logits.astype(np.float64), letterbox.input_height)
    full = _linear(full.T, letterbox.input_width).T
    inside = full[: letterbox.resized_height, : letterbox.resized_width]
    image: Floats = _linear(_linear(inside, letterbox.image_height, rows).T, letterbox.image_width).T
    return image


def masks_to_image(
    logits: Floats, chosen: NDArray[np.intp], letterbox: Letterbox
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    size = (letterbox.image_height, letterbox.image_width)
    masks = np.array([logits_to_image(logits[i], letterbox) > 0 for i in chosen]).reshape(-1, *size)
    areas = masks.sum(axis=(1, 2))
    return masks[areas > 0], areas


def compete(
    logits: Floats, scores: Floats, chosen: NDArray[np.intp], letterbox: Letterbox
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    size = (letterbox.image_height, letterbox.image_width)
    if not len(chosen):
        return np.zeros(size, np.int32), np.zeros((0, 3), np.int64)
    full = np.stack([logits_to_image(logits[i], letterbox) for i in chosen])
    claims = scores[chosen, None, None] / (1 + np.exp(-full))
    best = claims.argmax(axis=0)
    inside = np.take_along_axis(full, best[None], axis=0)[0] >= 0
    shares = [
        [(full[k] >= 0).sum(), (best == k).sum(), ((best == k) & inside).sum()] for k in range(len(full))
    ]
    return np.where(inside, best + 1, -best - 1).astype(np.int32), np.array(shares)


def normals_to_image(planes: Floats, letterbox: Letterbox) -> NDArray[np.float32]:
    normals = np.stack([letterbox.map_to_image(plane, "bilinear") for plane in planes], axis=-1)
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals /= np.maximum(lengths, np.float32(SHORTEST))
    return np.asarray(normals * (lengths > SHORTEST), np.float32)
