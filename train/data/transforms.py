"""Augmentation of one sample. Geometry changes image and labels alike; photometry only the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes import Scene

MIN_INSIDE = 0.3  # of a box's area, for the object to count in a crop


@dataclass(frozen=True)
class Sample:
    """One training image with the labels of every task, at the training size S [px]."""

    image: NDArray[np.uint8]  # (S, S, 3) RGB
    boxes: NDArray[np.float32]  # (M, 4) cxcywh in [0, 1]
    classes: NDArray[np.int64]  # (M,)
    labels: NDArray[np.uint8]  # (S, S), 255 = ignore
    depth: NDArray[np.float32]  # (S, S) [m], 0 = no surface


def make_sample(scene: Scene, size: int, rng: np.random.Generator | None) -> Sample:
    """A square scene resized to `size`; cropped, flipped and coloured at random unless `rng` is None.

    Depth is told as the scene's own camera would see the resized picture: what is half as large is twice as
    far. So a model trained on small pictures is right on large ones.
    """
    native = scene.image.shape[0]
    side, x, y = native, 0, 0
    if rng is not None and size < native:
        side = int(rng.integers(size, native + 1))
        x, y = (int(offset) for offset in rng.integers(0, native - side + 1, 2))
    window = (slice(y, y + side), slice(x, x + side))
    image, labels = scene.image[window], scene.labels[window]
    depth = scene.depth[window] * np.float32(side / size)
    corners, classes = _crop_boxes(scene, x, y, side)
    if side != size:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
        labels = np.asarray(cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        depth = np.asarray(cv2.resize(depth, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)
    if rng is not None:
        if rng.random() < 0.5:
            image, labels, depth = image[:, ::-1], labels[:, ::-1], depth[:, ::-1]
            corners = np.stack([1 - corners[:, 2], corners[:, 1], 1 - corners[:, 0], corners[:, 3]], axis=1)
        image = jitter(image, rng)
    boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    return Sample(
        np.ascontiguousarray(image),
        boxes.astype(np.float32),
        classes,
        np.ascontiguousarray(labels),
        np.ascontiguousarray(depth, np.float32),
    )


def _crop_boxes(scene: Scene, x: int, y: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Corners (M, 4) in [0, 1] of the window, and classes (M,), of the objects well inside it."""
    boxes = np.array([o.box for o in scene.objects], np.float32).reshape(-1, 4)
    classes = np.array([o.class_id for o in scene.objects], np.int64)
    inside = (boxes - np.array([x, y, x, y], np.float32)).clip(0, side)
    area, whole = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (inside, boxes))
    kept = area > MIN_INSIDE * whole
    return inside[kept] / np.float32(side), classes[kept]


def jitter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random brightness, contrast, saturation, white balance and sensor noise of an RGB image."""
    x = image.astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    mean = grey.mean()
    x = grey + (x - grey) * np.float32(rng.uniform(0.6, 1.4))
    x = (x - mean) * np.float32(rng.uniform(0.7, 1.3)) + mean * np.float32(rng.uniform(0.7, 1.3))
    x *= rng.uniform(0.9, 1.1, 3).astype(np.float32)
    if rng.random() < 0.5:
        x += rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0, 8))
    coloured: NDArray[np.uint8] = np.clip(x, 0, 255).astype(np.uint8)
    return coloured
