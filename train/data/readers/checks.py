"""Names, boxes and keypoints from annotation files, checked before they are used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import shown
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.example import PERSON_SHARE
from argus_edge.train.data.readers.files import inside

MAX_COORDINATE: Final = 4e6  # [px] of a keypoint or a box
MAX_NAME_BYTES: Final = 1024  # of a file's path in an annotation; it stands in messages
MAX_PART_BYTES: Final = 255  # of each name in it: what file systems take

BOX_STAYS: Final = "its box stays"  # in problems of what is beside it in an annotation
PEOPLE_BY_BOX: Final = f"area of people by that of their boxes, times {PERSON_SHARE}"  # in titles


class BrokenEntryError(Exception):
    """Raised while one entry of an annotation file is looked at: why it cannot be used."""


def brief(value: object) -> str:
    """A value for a message: short, and printable whatever it is."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def checked_box(values: object, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """COCO's x, y, width, height [px] as xyxy, at least partly inside a picture of `size` (height, width).

    Raises BrokenEntryError for anything but four finite numbers, no area, or nothing inside the picture.
    """
    try:
        x, y, width, height = numbers(values).tolist()
    except (BrokenEntryError, ValueError, TypeError):
        raise BrokenEntryError(f"box {brief(values)} is not four numbers x, y, width, height") from None
    shown = f"box [{x:g}, {y:g}, {width:g}, {height:g}]"
    if not np.isfinite((x, y, width, height)).all():
        raise BrokenEntryError(f"{shown} is not finite")
    if width <= 0 or height <= 0:
        raise BrokenEntryError(f"{shown} has no area")
    if max(abs(x), abs(y), width, height) > MAX_COORDINATE:
        raise BrokenEntryError(f"{shown} reaches far from any picture")
    box = x, y, x + width, y + height
    x0, y0, x1, y1 = clipped_box(box, size)
    if x0 >= x1 or y0 >= y1:
        raise BrokenEntryError(f"{shown} is outside the picture of {size[0]}x{size[1]}")
    return box


def clipped_box(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """What of a box xyxy [px] is inside a picture of `size` (height, width)."""
    x0, y0, x1, y1 = box
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(size[1])), min(y1, float(size[0]))


def area_of(box: tuple[float, float, float, float]) -> float:
    """Area [px] of a box xyxy."""
    return (box[2] - box[0]) * (box[3] - box[1])


def keypoints_of(values: Any) -> NDArray[np.float32]:
    """51 numbers as (17, 3): xy [px] and 0 unlabelled, 1 hidden, 2 visible.

    Raises BrokenEntryError for another number of them, a value that is not finite or out of all bounds.
    """
    try:
        points = numbers(values)
    except BrokenEntryError:
        raise BrokenEntryError("keypoints are not all numbers") from None
    if points.shape != (3 * len(KEYPOINT_NAMES),):
        raise BrokenEntryError(
            f"keypoints are {points.size} values; expected {3 * len(KEYPOINT_NAMES)}: x, y and visibility "
            f"of COCO's {len(KEYPOINT_NAMES)}"
        )
    points = points.reshape(-1, 3)
    if not (np.abs(points) <= MAX_COORDINATE).all():  # which is false for NaN too
        raise BrokenEntryError("keypoints hold a value that is not finite, or far from any picture")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise BrokenEntryError("keypoints hold a visibility other than 0, 1 and 2")
    return points.astype(np.float32)


def checked_name(name: object) -> str:
    """A file name from an annotation, as it is. Raises BrokenEntryError, saying why, if it cannot be used."""
    if not isinstance(name, str) or not name:
        raise BrokenEntryError(f"file_name {brief(name)} is no text")
    try:
        parts = os.fsencode(name).split(b"/")
    except UnicodeEncodeError:
        raise BrokenEntryError(f"file_name {brief(name)} is no text that a file could be called") from None
    if sum(map(len, parts)) > MAX_NAME_BYTES or max(map(len, parts)) > MAX_PART_BYTES:
        raise BrokenEntryError(f"file_name {brief(name)} is too long for a file")
    if inside(Path(), name) is None:
        raise BrokenEntryError(f"file_name {shown(name)[:200]!r} leads out of the folder")
    return name


def spelt(name: object) -> str:
    """A keypoint's name in COCO's spelling: "Left-Eye" is left_eye."""
    return str(name).strip().lower().replace("-", "_").replace(" ", "_")


def numbers(values: Any) -> NDArray[np.float64]:
    """Raises BrokenEntryError for anything but numbers, such as text that looks like them."""
    try:
        found = np.array(values)
    except ValueError:  # lists of different lengths
        raise BrokenEntryError("not numbers") from None
    if found.dtype.kind not in "iuf":
        raise BrokenEntryError("not numbers")
    return found.astype(np.float64)
