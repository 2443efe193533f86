"""Augmentation of one sample. Geometry changes image and labels alike; photometry only the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes import Scene


@dataclass(frozen=True)
class Sample:
    """One training image with the labels of every task, at the training size S [px]."""

    image: NDArray[np.uint8]  # (S, S, 3) RGB
    boxes: NDArray[np.float32]  # (M, 4) cxcywh in [0, 1]
    classes: NDArray[np.int64]  # (M,)
    labels: NDArray[np.uint8]  # (S, S), 255 = ignore
    depth: NDArray[np.float32]  # (S, S) [m], 0 = no surface


def make_sample(scene: Scene, size: int, rng: np.random.Generator | None) -> Sample:
    """A scene resized to `size`; flipped and coloured at random unless `rng` is None."""
    height, width = scene.image.shape[:2]
    image, labels, depth = scene.image, scene.labels, scene.depth
    corners = np.array([o.box for o in scene.objects], np.float32).reshape(-1, 4)
    corners = corners / np.array([width, height, width, height], np.float32)
    if (height, width) != (size, size):
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
        np.array([o.class_id for o in scene.objects], np.int64),
        np.ascontiguousarray(labels),
        np.ascontiguousarray(depth, np.float32),
    )


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
    return np.clip(x, 0, 255).astype(np.uint8)
