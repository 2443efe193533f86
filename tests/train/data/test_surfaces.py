"""Surfaces: what a defect changes is what its mask says, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.train.commands.data import run
from argus_edge.train.data.surfaces import DEFECTS, SURFACE_CATEGORIES, Surface, render_surface

SEEDS = range(24)


@pytest.fixture(scope="module", params=SURFACE_CATEGORIES)
def pairs(request: pytest.FixtureRequest) -> list[tuple[Surface, Surface]]:
    """Whole and defective surfaces of the same seeds."""
    return [
        (render_surface(seed, request.param, False, 128), render_surface(seed, request.param, True, 128))
        for seed in SEEDS
    ]


def change(whole: Surface, broken: Surface) -> NDArray[np.int16]:
    """Largest difference of a pixel's levels (H, W)."""
    difference: NDArray[np.int16] = np.abs(whole.image.astype(np.int16) - broken.image).max(axis=2)
    return difference


def test_there_are_enough_materials_and_defects() -> None:
    assert len(SURFACE_CATEGORIES) >= 4
    assert len(DEFECTS) >= 5


def test_whole_surfaces_have_no_mask_and_defective_ones_do(pairs: list[tuple[Surface, Surface]]) -> None:
    for whole, broken in pairs:
        assert whole.defect is None
        assert not whole.mask.any()
        assert broken.defect in DEFECTS
        assert 4 < broken.mask.sum() < 0.2 * broken.mask.size
        assert broken.mask.dtype == bool
        assert broken.image.dtype == np.uint8
        assert broken.image.shape == (*broken.mask.shape, 3) == (128, 128, 3)


def test_defects_change_their_pixels_and_no_others(pairs: list[tuple[Surface, Surface]]) -> None:
    reach = np.ones((7, 7), np.uint8)  # a soft edge, the slope beside it and the lens: one pixel each
    for whole, broken in pairs:
        difference = change(whole, broken)
        around = cv2.dilate(broken.mask.astype(np.uint8), reach) > 0
        assert (difference[~around] == 0).all()
        assert (difference[broken.mask] > 0).mean() > 0.8


def test_defects_can_be_seen_and_some_only_just(pairs: list[tuple[Surface, Surface]]) -> None:
    contrast = [float(change(*pair)[pair[1].mask].mean()) for pair in pairs]
    assert min(contrast) > 5  # levels of 255; the noise of the camera is 1 to 3
    assert max(contrast) > 2 * min(contrast)


def test_every_defect_comes_up() -> None:
    seen = {render_surface(seed, "metal", True, 64).defect for seed in range(40)}
    assert seen == set(DEFECTS)


@pytest.mark.parametrize("category", SURFACE_CATEGORIES)
def test_a_seed_always_gives_the_same_surface(category: str) -> None:
    one, same, other = (render_surface(seed, category, True, (64, 96)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.mask, same.mask)
    assert one.defect == same.defect
    assert (one.image != other.image).any()
    assert one.image.shape == (64, 96, 3)


def test_categories_differ() -> None:
    pictures = [render_surface(0, category, False, 64).image.astype(float) for category in SURFACE_CATEGORIES]
    for k, picture in enumerate(pictures):
        assert all(np.abs(picture - other).mean() > 5 for other in pictures[:k])


@pytest.mark.parametrize("category", SURFACE_CATEGORIES)
def test_a_picture_is_the_same_piece_at_every_size(category: str) -> None:
    small, large = (render_surface(5, category, False, size).image for size in (160, 320))
    halved = cv2.resize(large, (160, 160), interpolation=cv2.INTER_AREA)
    first, second = (cv2.GaussianBlur(i, (0, 0), 8).astype(float) for i in (small, halved))
    assert np.abs(first - second).mean() < 6


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="unknown surface category 'paper'; expected one of wood"):
        render_surface(0, "paper", False)
    with pytest.raises(InputError, match="expected a whole number"):
        render_surface(-1, "wood", False)
    with pytest.raises(InputError, match=r"^size is 20; expected one number"):
        render_surface(0, "wood", False, 20)


def test_the_sheet_shows_three_pictures_of_each_seed(tmp_path: Path) -> None:
    out = tmp_path / "surfaces.png"
    assert run(["surfaces", "--seed", "7", "--count", "2", "--size", "64", "--out", str(out)]) == 0
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape == (64 * len(SURFACE_CATEGORIES), 6 * 64, 3)
    whole = render_surface(7, SURFACE_CATEGORIES[0], False, 64).image
    np.testing.assert_array_equal(picture[:64, :64, ::-1], whole)
    with pytest.raises(InputError, match="at least 1 surface"):
        run(["surfaces", "--count", "0", "--out", str(out)])
