"""Thinning of binary maps to lines one pixel wide."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

# The bit of each neighbour, x1 to x8: from the east, against the clock.
BITS: Final = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], np.float32)


def _keeps() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For the two passes, by the neighbours' bits (256,): 1 if the pixel stays, 0 if it goes."""
    codes = np.arange(256)
    x = [(codes >> i & 1).astype(bool) for i in range(8)]  # x[0] is x1
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(int) for i in (0, 2, 4, 6))
    pairs = [
        sum((x[i] | x[(i + 1) % 8]).astype(int) for i in first) for first in ((0, 2, 4, 6), (1, 3, 5, 7))
    ]
    least = np.minimum(*pairs)
    removable = (crossings == 1) & (least >= 2) & (least <= 3)
    first = removable & ~((x[1] | x[2] | ~x[7]) & x[0])
    second = removable & ~((x[5] | x[6] | ~x[3]) & x[4])
    return (~first).astype(np.uint8), (~second).astype(np.uint8)


KEEPS: Final = _keeps()


def thin(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask (H, W) -> its thinned lines (H, W), which keep its connectedness.

    Guo and Hall, "Parallel Thinning with Two-Subiteration Algorithms", CACM 1989, in the form of Lam, Lee and
    Suen, "Thinning Methodologies", PAMI 1992: what MATLAB's bwmorph(mask, 'thin', Inf) does. Pixels outside
    the image are not set.
    """
    pixels = np.asarray(mask, bool).astype(np.uint8)
    before = -1
    while pixels.size and before != (now := cv2.countNonZero(pixels)):
        before = now
        for keeps in KEEPS:
            codes = cv2.filter2D(pixels, -1, BITS, borderType=cv2.BORDER_CONSTANT)
            pixels &= np.asarray(cv2.LUT(codes, keeps), np.uint8)
    return pixels.astype(bool)
