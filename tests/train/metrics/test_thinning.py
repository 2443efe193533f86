"""Thinning by hand, against a pixel-by-pixel form of the rules, and what must hold of its lines."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.train.metrics.thinning import thin

Mask = NDArray[np.bool_]


def picture(*rows: str) -> Mask:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_a_bar_becomes_its_middle_line() -> None:
    bar = picture("........", ".######.", ".######.", ".######.", "........")
    assert np.array_equal(thin(bar), picture("........", "........", "..####..", "........", "........"))


def test_a_square_becomes_a_pixel_and_a_ring_stays_a_ring() -> None:
    assert thin(np.ones((5, 5), bool)).sum() == 1
    ring = np.ones((9, 9), bool)
    ring[3:6, 3:6] = False
    lines = thin(ring)
    assert cv2.connectedComponents((~lines).astype(np.uint8), connectivity=4)[0] - 1 == 2
    blocks = lines[1:, 1:] & lines[1:, :-1] & lines[:-1, 1:] & lines[:-1, :-1]
    assert not blocks.any()


@pytest.mark.parametrize("lines", [np.eye(6, dtype=bool), np.eye(6, dtype=bool)[::-1], np.ones((1, 7), bool)])
def test_lines_one_pixel_wide_stay_as_they_are(lines: Mask) -> None:
    assert np.array_equal(thin(lines), lines)


def test_nothing_and_no_pixels() -> None:
    assert not thin(np.zeros((4, 5), bool)).any()
    assert thin(np.zeros((0, 5), bool)).shape == (0, 5)


def removable(pixels: NDArray[np.int64], y: int, x: int, second: bool) -> bool:
    """Lam, Lee and Suen's conditions G1, G2 and G3 (or G3') for one pixel of a padded map."""
    steps = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
    x1, x2, x3, x4, x5, x6, x7, x8 = (int(pixels[y + a, x + b]) for a, b in steps)
    ring = [x1, x2, x3, x4, x5, x6, x7, x8, x1]
    crossing = sum(ring[i] == 0 and (ring[i + 1] == 1 or ring[i + 2] == 1) for i in (0, 2, 4, 6))
    n1 = (x1 | x2) + (x3 | x4) + (x5 | x6) + (x7 | x8)
    n2 = (x2 | x3) + (x4 | x5) + (x6 | x7) + (x8 | x1)
    side = (x6 | x7 | 1 - x4) & x5 if second else (x2 | x3 | 1 - x8) & x1
    return crossing == 1 and 2 <= min(n1, n2) <= 3 and side == 0


def thin_slowly(mask: Mask) -> Mask:
    pixels = np.pad(mask.astype(np.int64), 1)
    before = -1
    while before != pixels.sum():
        before = int(pixels.sum())
        for second in (False, True):
            gone = [(y, x) for y, x in np.argwhere(pixels) if removable(pixels, y, x, second)]
            for y, x in gone:
                pixels[y, x] = 0
    return pixels[1:-1, 1:-1].astype(bool)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_rules_applied_pixel_by_pixel(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = cv2.blur(random.random((24, 31)), (1 + seed % 3, 1 + seed % 2)) > 0.45
    lines = thin(mask)
    assert np.array_equal(lines, thin_slowly(mask))
    assert np.array_equal(thin(lines), lines)
    assert not (lines & ~mask).any()
    # Pieces stay apart and whole, and so do the holes in them.
    parts = [cv2.connectedComponents(m.astype(np.uint8), connectivity=8)[0] for m in (mask, lines)]
    holes = [
        cv2.connectedComponents(np.pad(~m, 1, constant_values=True).astype(np.uint8), connectivity=4)[0]
        for m in (mask, lines)
    ]
    assert parts[0] == parts[1]
    assert holes[0] == holes[1]
