"""Masks and their contest, brought to the image: compiled, in numpy, and by exact bilinear interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.runtime import _native
from argus_edge.runtime.decode.masks import masks_to_image
from argus_edge.runtime.decode.panoptic import compete
from tests.runtime.references import decode as reference
from tests.runtime.references.decode import exact_logits

SIDE = 320  # of the network input
SIZES = pytest.mark.parametrize(("height", "width"), [(2160, 4096), (48, 64), (321, 517), (517, 321), (1, 1)])


def noisy(seed: int, count: int) -> NDArray[np.float32]:
    """Logits (count, 20, 20) without any correlation: borders everywhere."""
    return np.random.default_rng(seed).normal(-1, 4, (count, 20, 20)).astype(np.float32)


@SIZES
@pytest.mark.parametrize("run", [masks_to_image, reference.masks_to_image], ids=["c++", "numpy"])
def test_masks_reach_the_image_through_the_network_input(run: Any, height: int, width: int) -> None:
    letterbox = Letterbox(height, width, SIDE, SIDE)
    logits = noisy(height, 3)
    masks, areas = run(logits, np.array([2, 0]), letterbox)
    assert masks.dtype == np.bool_
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), areas[areas > 0])
    rows = slice(0, None, 1 + height // 100)
    expected = [exact_logits(logits[i], letterbox, rows) for i in (2, 0)]
    for mask, wanted in zip(masks, [e for e, area in zip(expected, areas, strict=True) if area], strict=True):
        clear = np.abs(wanted) > 1e-4
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(mask[rows][clear], wanted[clear] > 0)


@SIZES
@pytest.mark.parametrize("run", [compete, reference.compete], ids=["c++", "numpy"])
def test_every_pixel_goes_to_the_greatest_claim(run: Any, height: int, width: int) -> None:
    height, width = min(height, 1080), min(width, 1000)
    letterbox = Letterbox(height, width, SIDE, SIDE)
    logits, scores = noisy(width, 6), np.linspace(0.9, 0.5, 6, dtype=np.float32)
    chosen = np.array([4, 1, 3, 0])
    winners, shares = run(logits, scores, chosen, letterbox)
    assert winners.dtype == np.int32
    places = np.abs(winners)
    np.testing.assert_array_equal(shares[:, 1], np.bincount(places.ravel(), minlength=5)[1:])
    np.testing.assert_array_equal(
        shares[:, 2], np.bincount(places.ravel(), winners.ravel() > 0, minlength=5)[1:]
    )
    rows = slice(0, None, 1 + height // 100)
    full = np.stack([exact_logits(logits[i], letterbox, rows) for i in chosen])
    claims = scores[chosen, None, None] / (1 + np.exp(-full))
    first, second = np.sort(claims, axis=0)[[-1, -2]]
    clear = first - second > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(places[rows][clear], claims.argmax(axis=0)[clear] + 1)
    own = np.take_along_axis(full, claims.argmax(axis=0)[None], axis=0)[0]
    clear &= np.abs(own) > 1e-4
    np.testing.assert_array_equal(winners[rows][clear] > 0, own[clear] >= 0)


@SIZES
def test_both_implementations_agree(height: int, width: int) -> None:
    letterbox, chosen = Letterbox(height, width, SIDE, SIDE), np.array([1, 0])
    logits, scores = noisy(height + 1, 2), np.array([0.9, 0.85], np.float32)
    (masks, areas), (expected, sizes) = (
        run(logits, chosen, letterbox) for run in (masks_to_image, reference.masks_to_image)
    )
    assert np.abs(areas - sizes).max() <= 1e-5 * height * width  # logits that are 0 but for rounding
    assert (masks != expected).mean() <= 1e-5 if masks.size else not expected.size
    (winners, shares), (best, counts) = (
        run(logits, scores, chosen, letterbox) for run in (compete, reference.compete)
    )
    assert (winners != best).mean() <= 1e-5
    assert np.abs(shares - counts).max() <= 1e-5 * height * width


def test_a_mask_alone_in_its_corner_is_found() -> None:
    """One positive number, at each place: its mask goes as far as its neighbours, also at the borders."""
    letterbox = Letterbox(90, 120, 64, 64)
    for place in np.ndindex(16, 16):
        logits = np.full((1, 16, 16), -1, np.float32)
        logits[0][place] = 1
        masks, areas = masks_to_image(logits, np.array([0]), letterbox)
        expected, sizes = reference.masks_to_image(logits, np.array([0]), letterbox)
        np.testing.assert_array_equal(areas, sizes)
        np.testing.assert_array_equal(masks, expected)


def test_what_does_not_fit_is_refused_by_the_extension() -> None:
    logits, one = np.ones((2, 8, 8), np.float32), np.zeros(1, np.int64)
    masks, areas = np.zeros((1, 9, 9), np.uint8), np.zeros(1, np.int64)
    sizes = (32, 32), (32, 32), (9, 9)
    _native.masks_to_image(logits, one, *sizes, masks, areas)
    for wrong in (
        (logits, one + 2, *sizes, masks, areas),
        (logits, one - 1, *sizes, masks, areas),
        (logits, one, (32, 32), (33, 32), (9, 9), masks, areas),
        (logits, one, (32, 32), (0, 32), (9, 9), masks, areas),
        (logits, one, (32, 32), (32, 32), (9, 10), masks, areas),
        (logits, np.zeros(2, np.int64), *sizes, masks, areas),
    ):
        with pytest.raises(ValueError, match=r"pixel|mask|size"):
            _native.masks_to_image(*wrong)
    with pytest.raises(ValueError, match="one score"):
        _native.compete(
            logits, np.ones(1, np.float32), one, *sizes, np.zeros((9, 9), np.int32), np.zeros((1, 3), int)
        )
