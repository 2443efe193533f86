"""A few frames of a run side by side, to see at a glance whether it went right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError

SHEET_FRAMES: Final = 12
TILE: Final = 480  # longer side of a frame on the sheet [px]
GAP: Final = 8  # [px]
CAPTION: Final = 28  # height of the line under each tile [px]


class FrameSampler:
    """Keeps up to `limit` frames, evenly spaced over `count` frames or over as many as will come.

    Every `stride`-th frame is kept; when that gives more than the limit, every second one is let go and the
    stride doubles, so that memory holds `limit` frames at most.
    """

    def __init__(self, count: int | None = None, limit: int = SHEET_FRAMES) -> None:
        self._limit = limit
        self._stride = math.ceil((count or 1) / limit)
        self._seen = 0
        self._kept: list[tuple[str, NDArray[np.uint8]]] = []

    @property
    def frames(self) -> list[tuple[str, NDArray[np.uint8]]]:
        """The frames kept so far: caption, and a small (H, W, 3) uint8 RGB copy."""
        return list(self._kept)

    def wants_next(self) -> bool:
        """Whether the next frame is one to keep: others need not be drawn for it."""
        return self._seen % self._stride == 0

    def add(self, caption: str, image: NDArray[np.uint8]) -> None:
        """Count one frame, (H, W, 3) uint8 RGB, and keep a small copy when it is due."""
        if self.wants_next():
            if len(self._kept) == self._limit:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self.wants_next():
                self._kept.append((caption, _fit(image)))
        self._seen += 1

    def sheet(self) -> NDArray[np.uint8]:
        """Return the kept frames as one picture. Raises InputError when there is none."""
        return contact_sheet([image for _, image in self._kept], [caption for caption, _ in self._kept])


def contact_sheet(images: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> NDArray[np.uint8]:
    """Lay (H, W, 3) uint8 RGB images, of any sizes, in a grid, each over its caption.

    Returns (H, W, 3) uint8 RGB on a dark ground. Raises InputError without images.
    """
    import cv2

    if not images:
        raise InputError("a contact sheet needs at least one image")
    tiles = [_fit(image) for image in images]
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    height, width = max(tile.shape[0] for tile in tiles), max(tile.shape[1] for tile in tiles)
    pitch_x, pitch_y = width + GAP, height + CAPTION + GAP
    sheet = np.full((rows * pitch_y + GAP, columns * pitch_x + GAP, 3), 24, np.uint8)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        top, left = GAP + index // columns * pitch_y, GAP + index % columns * pitch_x
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        origin = left + 2, top + height + CAPTION - 9
        cv2.putText(sheet, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (220, 220, 220), 1, cv2.LINE_AA)
    return sheet


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale an image (H, W, 3) so that its longer side is TILE px."""
    import cv2

    scale = TILE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.array(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
