"""Pictures of surfaces for people."""

from __future__ import annotations

import cv2
import numpy as np

from argus_edge.errors import InputError
from argus_edge.train.data.scenes.render import Size
from argus_edge.train.data.scenes.sheet import Picture, write_text
from argus_edge.train.data.surfaces.materials import SURFACE_CATEGORIES
from argus_edge.train.data.surfaces.surface import Surface, render_surface


def surface_sheet(seed: int, count: int, size: Size = 320) -> Picture:
    """A row for each category: of `count` seeds the whole surface, the defective one, and that with outlines.

    Raises:
        InputError: a number is out of range.
    """
    if count < 1:
        raise InputError(f"count is {count}; a sheet needs at least 1 surface of each category")
    rows = []
    for category in SURFACE_CATEGORIES:
        row = []
        for number in range(seed, seed + count):
            whole, broken = (render_surface(number, category, defective, size) for defective in (False, True))
            row += [whole.image, broken.image, outline_picture(broken)]
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)


def outline_picture(surface: Surface) -> Picture:
    """The image, the outline of the defect in red round it, category and defect."""
    mask = surface.mask.astype(np.uint8)
    rim = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > cv2.dilate(mask, np.ones((3, 3), np.uint8))
    picture: Picture = surface.image.copy()
    picture[rim] = (255, 0, 0)
    write_text(picture, f"{surface.category}: {surface.defect}", (3, 12), np.full(3, 255, np.uint8))
    return picture
