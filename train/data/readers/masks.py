"""Masks of objects from annotation files: polygons and COCO's run-length codes, checked before they are used.

Polygons are rastered, and codes written, as in pycocotools' maskApi.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.train.data.readers.checks import BrokenEntryError, brief, numbers

MAX_OUTLINE: Final = 1 << 22  # [px]: pycocotools takes about sixty bytes for each


def mask_of(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask (H, W) of polygons, or of a run-length code, compressed or not.

    Raises BrokenEntryError, saying what is wrong, for anything broken or of another size.
    """
    if isinstance(segmentation, dict):
        if segmentation.get("size") != list(size):
            told = brief(segmentation.get("size"))
            raise BrokenEntryError(f"mask is of size {told} but the picture of {list(size)}")
        return _decoded(segmentation.get("counts"), size)
    if not isinstance(segmentation, list):
        raise BrokenEntryError("segmentation is neither a list of polygons nor a run-length code")
    polygons = [checked_polygon(polygon, size) for polygon in segmentation]
    return filled(polygons, size)


def checked_polygon(values: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """x and y [px] in turn. Raises BrokenEntryError if they are no polygon, or far out of the picture."""
    try:
        polygon = numbers(values)
    except BrokenEntryError:
        raise BrokenEntryError("polygon is not a list of numbers") from None
    if polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2:
        raise BrokenEntryError(
            f"polygon has {polygon.size} values; expected x and y of at least three points"
        )
    if not np.isfinite(polygon).all():
        raise BrokenEntryError("polygon holds a value that is not finite")
    points, limits = polygon.reshape(-1, 2), np.array(size[::-1], np.float64)
    if (points < -limits).any() or (points > 2 * limits).any():
        raise BrokenEntryError(f"polygon reaches far out of the picture of {size[0]}x{size[1]}")
    if np.abs(points - np.roll(points, 1, axis=0)).sum() > MAX_OUTLINE:
        raise BrokenEntryError(f"polygon is longer than {MAX_OUTLINE} px; it cannot be an outline")
    return polygon


def filled(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (H, W) that all polygons together cover, as pycocotools rasters them."""
    return _decoded(_code(polygons, size)["counts"].decode("ascii"), size)


def filled_area(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> int:
    """The area [px] of that mask, which is not made."""
    return int(require("pycocotools.mask", "train").area(_code(polygons, size)))


def _code(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> dict[str, Any]:
    codec = require("pycocotools.mask", "train")
    code: dict[str, Any] = codec.merge(codec.frPyObjects([polygon.tolist() for polygon in polygons], *size))
    return code


def _decoded(counts: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A run-length code as a mask: lengths of 0 and 1 in turn, column by column.

    pycocotools would do, but reads and writes where a broken code leads it.
    """
    pixels = size[0] * size[1]
    counts = _expanded(counts) if isinstance(counts, str) else counts
    try:
        lengths = numbers(counts)
    except BrokenEntryError:
        raise BrokenEntryError(
            f"run-length code has {brief(counts)}, not numbers; expected lengths as counts"
        ) from None
    # NaN fails every comparison.
    if lengths.ndim != 1 or not ((lengths >= 0) & (lengths <= pixels) & (lengths == np.floor(lengths))).all():
        raise BrokenEntryError("run-length code holds lengths that are none")
    if lengths.sum() != pixels:
        raise BrokenEntryError(f"run-length code is of {lengths.sum():.0f} px but the picture of {pixels}")
    column_by_column = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths.astype(np.int64))
    return np.ascontiguousarray(column_by_column.reshape(size[::-1]).T)


def _expanded(text: str) -> NDArray[np.int64]:
    """The lengths in a compressed code: groups of five bits from the lowest, the last one with the sign.

    From the fourth on they are differences to the last but one. (`argus_edge.results.rle` writes such codes.)
    Raises BrokenEntryError if they are written wrongly; the lengths may still be none.
    """
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - ord("0")
    if codes.min(initial=0) < 0 or codes.max(initial=0) > 63:
        raise BrokenEntryError("run-length code holds characters that are none of it")
    last = codes & 32 == 0
    if not codes.size or not last[-1]:
        raise BrokenEntryError("run-length code is cut off")
    starts = np.flatnonzero(np.r_[True, last[:-1]])
    places = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    if places.max() > 6:
        raise BrokenEntryError("run-length code holds a length of more than 35 bits")
    negative = codes[last] & 16 != 0
    lengths = np.add.reduceat((codes & 31) << 5 * places, starts)
    lengths -= np.where(negative, 1 << 5 * (places[last] + 1), 0)
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return lengths
