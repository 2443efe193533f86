"""Draws the placement of one picture: how large it is shown, what part of it, mirrored or turned."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.augment.placement import Placement, Size
from argus_edge.train.data.augment.settings import Augmentation
from argus_edge.train.data.example import IGNORE

TRIES: Final = 10
LONGEST: Final = 4.0  # times the input's longer side: mmsegmentation's 2048 by 512

Window = tuple[tuple[int, int, int, int], Size]
"""xyxy [px] of the picture, and the height and width it is resized to."""


def draw_placement(
    settings: Augmentation,
    source: Size,
    size: Size,
    rng: np.random.Generator,
    labels: NDArray[np.uint8] | None = None,
) -> Placement:
    """Where a picture of size `source` lies in an input of `size`.

    `labels` (H, W), 255 = ignore, are looked at for `cat_max_ratio` alone: of ten windows the first that does
    not show too much of one class is taken, the last if all do.
    """
    framed = _area_window if settings.framing == "area" else _scaled_window
    window, target = framed(settings, source, size, rng)
    angle = float(rng.uniform(-settings.turn, settings.turn)) if settings.turn else 0.0
    mirrored = bool(rng.random() < settings.flip)
    if labels is not None and settings.cat_max_ratio < 1:
        for _ in range(TRIES - 1):
            if not _monotonous(labels, window, settings.cat_max_ratio):
                break
            window = _moved(window, source, rng)
    return Placement(source, window, target, size, mirrored, angle)


def _scaled_window(settings: Augmentation, source: Size, size: Size, rng: np.random.Generator) -> Window:
    """A window of the input's size in the picture as resized; the whole picture where it is smaller."""
    fits = settings.framing == "fit"
    factor = rng.uniform(*settings.scales)
    if fits and factor == 1:  # to the pixel, whose halves the runtime rounds up
        whole = Placement.letterbox(source, size)
        return whole.window, whole.target
    (height, width), target = _parts(source, size, factor * (_fit if fits else _fill)(source, size))
    return _moved((0, 0, width, height), source, rng), target


def _area_window(settings: Augmentation, source: Size, size: Size, rng: np.random.Generator) -> Window:
    """A part of random area and aspect; where none fits, the largest allowed in the middle."""
    height, width = source
    low, high = settings.aspects
    for _ in range(TRIES):
        area = height * width * rng.uniform(*settings.scales)
        aspect = np.exp(rng.uniform(np.log(low), np.log(high)))
        h, w = round(np.sqrt(area / aspect)), round(np.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return _moved((0, 0, w, h), source, rng), size
    w = max(1, min(width, round(height * high)))
    h = max(1, min(height, round(width / low)))
    x, y = (width - w) // 2, (height - h) // 2
    return (x, y, x + w, y + h), size


def _fit(source: Size, size: Size) -> float:
    return min(size[0] / source[0], size[1] / source[1])


def _fill(source: Size, size: Size) -> float:
    return min(max(size[0] / source[0], size[1] / source[1]), LONGEST * max(size) / max(source))


def _parts(source: Size, size: Size, scale: float) -> tuple[Size, Size]:
    """Sides of the part of the picture that can be seen at `scale`, and of what it becomes in the input.

    Both in whole pixels: a part of n px that becomes m px is scaled by m / n, which is what labels follow.
    """
    seen, shown = zip(*(_side(*sides, scale) for sides in zip(source, size, strict=True)), strict=True)
    return (seen[0], seen[1]), (shown[0], shown[1])


def _side(source: int, size: int, scale: float) -> tuple[int, int]:
    if source * scale > size:
        return min(source, max(1, round(size / scale))), size
    return source, min(size, max(1, round(source * scale)))


def _moved(
    window: tuple[int, int, int, int], source: Size, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A window of the same size anywhere in the picture."""
    x0, y0, x1, y1 = window
    width, height = x1 - x0, y1 - y0
    x, y = int(rng.integers(source[1] - width + 1)), int(rng.integers(source[0] - height + 1))
    return x, y, x + width, y + height


def _monotonous(labels: NDArray[np.uint8], window: tuple[int, int, int, int], most: float) -> bool:
    """Whether one class covers more than `most` of what is labelled in a window, or all of it."""
    x0, y0, x1, y1 = window
    pixels = np.bincount(labels[y0:y1, x0:x1].ravel(), minlength=IGNORE + 1)[:IGNORE]
    return bool(pixels.max() >= most * pixels.sum())
