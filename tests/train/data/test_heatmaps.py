from __future__ import annotations

import cv2
import numpy as np
import pytest

from argus_edge.keypoints import FLIP_PAIRS, KEYPOINT_NAMES
from argus_edge.runtime.decode.keypoints import find_peaks, refine_dark
from argus_edge.runtime.persons import grid_to_image, warp, widen
from argus_edge.train.data import heatmaps as h

BOX = np.array([40.0, 30.0, 90.0, 190.0])
ALL = np.ones(17, bool)


def random_points(rng: np.random.Generator, box: np.ndarray = BOX) -> np.ndarray:
    return rng.uniform(box[:2], box[2:], (17, 2))


def blob_image(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """A white spot at each point, of sigma 3 px, on black."""
    y, x = np.mgrid[:height, :width]
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points]
    return np.repeat((255 * np.max(spots, axis=0)).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("seed", range(5))
def test_points_go_to_a_view_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = random_points(rng)
    matrix = h.draw_view(BOX, points, ALL, rng).matrix(256, 192)
    assert np.abs(h.unmap_points(h.map_points(points, matrix), matrix) - points).max() < 1e-9


def test_the_corners_of_a_region_are_the_outermost_samples() -> None:
    """UDP: W samples span W - 1 steps, and so does the region; continuous 10 is the point 9.5."""
    view = h.View(np.array([10.0, 20.0, 106.0, 148.0]))
    corners = h.map_points(np.array([[9.5, 19.5], [105.5, 147.5]]), view.matrix(256, 192))
    np.testing.assert_allclose(corners, [[0, 0], [191, 255]], atol=1e-9)
    mirrored = h.View(view.region, mirrored=True)
    corners = h.map_points(np.array([[9.5, 19.5], [105.5, 147.5]]), mirrored.matrix(256, 192))
    np.testing.assert_allclose(corners, [[191, 0], [0, 255]], atol=1e-9)


def test_a_box_is_widened_to_three_by_four_and_a_quarter_more() -> None:
    tall, wide = widen(np.array([[10.0, 20, 20, 100], [0, 0, 60, 20]]))
    np.testing.assert_allclose(tall, [-22.5, 10, 52.5, 110])
    np.testing.assert_allclose(wide, [-7.5, -40, 67.5, 60])


@pytest.mark.parametrize("angle", [0.0, 35.0, -70.0])
def test_the_picture_goes_where_its_points_go(angle: float) -> None:
    points = np.array([[60.0, 80.0], [75.0, 140.0]])
    view = h.View(widen(BOX[None])[0], angle, mirrored=angle > 0)
    matrix = view.matrix(256, 192)
    for point in points:
        crop = warp(blob_image(point[None], 220, 130), matrix, 256, 192, (0, 0, 0))
        weights = crop[..., 0].astype(float) ** 4  # sharpens the spot: the rounded rest has no say
        y, x = np.mgrid[:256, :192]
        found = [(weights * x).sum() / weights.sum(), (weights * y).sum() / weights.sum()]
        np.testing.assert_allclose(found, h.map_points(point[None], matrix)[0], atol=0.05)


def test_outside_the_image_a_crop_has_the_padding_colour() -> None:
    rng = np.random.default_rng(0)
    sample = h.make_pose_sample(np.zeros((220, 130, 3), np.uint8), BOX - 2000, random_points(rng), ALL, None)
    assert (sample.image == (124, 116, 104)).all()


def test_targets_decode_to_the_points_they_were_drawn_from() -> None:
    """Six cells from the border and more, where no Gaussian is cut off."""
    rng = np.random.default_rng(1)
    region = widen(BOX[None])
    view = h.View(region[0])
    cells = rng.uniform([6, 6], [41, 57], (17, 2))
    points = grid_to_image(cells[None], region, 64, 48)[0]
    maps, weights = h.view_heatmaps(view, points, ALL)
    assert weights.all()
    found = refine_dark(maps[None], find_peaks(maps[None])[0])
    assert np.abs(found[0] - cells).max() < 0.02
    assert np.abs(grid_to_image(found, region, 64, 48)[0] - points).max() < 0.05


@pytest.mark.parametrize(("margin", "bound"), [(0, 1.0), (1, 0.6), (2, 0.25), (3, 0.06), (4, 0.02)])
def test_near_the_border_of_a_heatmap_points_are_a_little_off(margin: int, bound: float) -> None:
    cells = np.random.default_rng(11).uniform([margin] * 2, [47 - margin, 63 - margin], (500, 2))
    cells[:, 0] = np.where(np.arange(500) % 2, margin, 47 - margin)
    maps, _ = h.draw_heatmaps(cells, np.ones(500, bool), 64, 48)
    found = refine_dark(maps[None], find_peaks(maps[None])[0])[0]
    assert np.abs(found - cells).max() <= bound


def test_a_gaussian_has_its_peak_at_the_point_and_ends_at_three_sigma() -> None:
    maps, weights = h.draw_heatmaps(np.array([[20.0, 30.0], [20.4, 30.0]]), np.ones(2, bool), 64, 48)
    assert maps[0, 30, 20] == 1
    np.testing.assert_allclose(maps[0, 30, 22], np.exp(-0.5), rtol=1e-6)
    np.testing.assert_allclose(maps[1, 30, 20], np.exp(-0.16 / 8), rtol=1e-6)
    assert maps[0, 30, 26] > 0
    assert maps[0, 30, 27] == 0
    assert weights.tolist() == [1, 1]


@pytest.mark.parametrize("augmented", [False, True])
def test_a_person_outside_the_frame_teaches_nothing(augmented: bool) -> None:
    rng = np.random.default_rng(2)
    points = np.full((17, 2), -5000.0)
    sample = h.make_pose_sample(np.zeros((60, 80, 3), np.uint8), BOX, points, ALL, rng if augmented else None)
    assert not sample.weights.any()
    assert not sample.heatmaps.any()
    assert sample.image.shape == (256, 192, 3)
    nowhere = np.full((17, 2), np.nan)
    maps, weights = h.view_heatmaps(sample.view, nowhere, ALL)
    assert np.isfinite(maps).all()
    assert not weights.any()


def test_what_is_not_labelled_weighs_nothing() -> None:
    visible = np.arange(17) % 2 == 0
    _, weights = h.view_heatmaps(
        h.View(widen(BOX[None])[0]), random_points(np.random.default_rng(3)), visible
    )
    np.testing.assert_array_equal(weights, visible)


def test_a_mirrored_view_is_the_mirror_image() -> None:
    """Maps of the mirrored crop, mirrored back, are those of the crop: what the flip test rests on."""
    rng = np.random.default_rng(4)
    points, region = random_points(rng), widen(BOX[None])[0]
    visible = rng.random(17) < 0.7
    plain, weights = h.view_heatmaps(h.View(region), points, visible)
    mirrored, mirrored_weights = h.view_heatmaps(h.View(region, mirrored=True), points, visible)
    np.testing.assert_allclose(h.mirror_heatmaps(mirrored), plain, atol=1e-5)
    np.testing.assert_array_equal(h.swap_sides(mirrored_weights), weights)
    image = rng.integers(0, 256, (220, 130, 3), dtype=np.uint8)
    crops = [
        warp(image, h.View(region, mirrored=m).matrix(256, 192), 256, 192, (0, 0, 0)) for m in (False, True)
    ]
    # OpenCV rounds places to 1/32 px.
    assert np.abs(crops[0].astype(int) - crops[1][:, ::-1]).mean() < 3


def test_sides_are_swapped_by_name() -> None:
    swapped = h.swap_sides(np.array(KEYPOINT_NAMES))
    for name, other in zip(KEYPOINT_NAMES, swapped.tolist(), strict=True):
        assert other == name.replace("left", "X").replace("right", "left").replace("X", "right")
    assert len(FLIP_PAIRS) == 8


def test_half_a_body_is_seen_only_when_enough_is_labelled() -> None:
    points = random_points(np.random.default_rng(5))
    points[:11, 1] = np.linspace(35, 80, 11)
    points[11:, 1] = np.linspace(120, 180, 6)
    few = np.arange(17) < 8
    heights: dict[str, set[float]] = {"few": set(), "all": set()}
    for seed in range(60):
        for name, visible in (("few", few), ("all", ALL)):
            region = h.draw_view(BOX, points, visible, np.random.default_rng(seed)).region
            heights[name].add(round((region[3] - region[1]) / 200.0, 3))
    assert min(heights["few"]) >= 0.5  # the scale alone
    assert min(heights["all"]) < 0.5 * 0.6


def test_views_have_the_chances_they_are_given() -> None:
    rng = np.random.default_rng(6)
    points = random_points(rng)
    views = [h.draw_view(BOX, points, np.zeros(17, bool), rng) for _ in range(2000)]
    turned = np.array([view.angle for view in views])
    assert np.mean(turned != 0) == pytest.approx(h.TURN_CHANCE, abs=0.04)
    assert np.abs(turned).max() == h.TURN_LIMIT
    assert np.mean([view.mirrored for view in views]) == pytest.approx(0.5, abs=0.04)
    regions = np.array([view.region for view in views])
    sizes = regions[:, 2:] - regions[:, :2]
    np.testing.assert_allclose(sizes[:, 0] / sizes[:, 1], 0.75)
    assert sizes[:, 1].min() == pytest.approx(0.5 * 200)
    assert sizes[:, 1].max() == pytest.approx(1.5 * 200)
    moved = np.abs((regions[:, :2] + regions[:, 2:]) / 2 - (BOX[:2] + BOX[2:]) / 2)
    assert np.mean(moved[:, 0] > 1e-9) == pytest.approx(h.SHIFT_CHANCE, abs=0.04)
    assert moved[:, 0].max() <= 0.2 * 50
    assert moved[:, 1].max() <= 0.2 * 160


def test_boxes_become_as_inexact_as_a_detector_s() -> None:
    boxes = np.tile(BOX, (3000, 1))
    found = h.jitter_boxes(boxes, np.random.default_rng(10), scale=0.1)
    sizes = (found[:, 2:] - found[:, :2]) / [50, 160]
    np.testing.assert_allclose(sizes[:, 0], sizes[:, 1])
    assert sizes.std() == pytest.approx(0.1, abs=0.01)
    shifts = ((found[:, :2] + found[:, 2:]) / 2 - [65, 110]) / [50, 160]
    assert np.mean(np.abs(shifts).max(axis=1) > 1e-9) == pytest.approx(h.SHIFT_CHANCE, abs=0.03)
    assert 0.19 < np.abs(shifts).max() <= h.SHIFT
    still = h.jitter_boxes(boxes[:0], np.random.default_rng(0))
    assert still.shape == (0, 4)


def test_the_same_chance_gives_the_same_sample() -> None:
    image = np.random.default_rng(7).integers(0, 256, (220, 130, 3), dtype=np.uint8)
    points = random_points(np.random.default_rng(8))
    first, second = (h.make_pose_sample(image, BOX, points, ALL, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.heatmaps, second.heatmaps)
    assert cv2.countNonZero(first.heatmaps.reshape(-1, 1)) > 0
