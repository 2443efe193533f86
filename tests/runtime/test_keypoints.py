"""Heatmaps to keypoints, against transformers' ViTPose and against what the heatmaps were drawn from."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import EngineError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.keypoints import KEYPOINT_NAMES, OKS_SIGMAS, SKELETON
from argus_edge.results import Detections
from argus_edge.runtime.decode.keypoints import (
    blurred_logarithms,
    decode_keypoints,
    distinct,
    find_peaks,
    refine_dark,
    refine_quarter,
)
from argus_edge.runtime.persons import Persons, fill_slots, find_persons, grid_matrix, grid_to_image, widen

HEIGHT, WIDTH = 64, 48


def gaussians(cells: NDArray[np.float64], height: float = 0.9) -> NDArray[np.float32]:
    """Heatmaps (N, K, 64, 48) with a Gaussian of sigma 2 around each of (N, K, 2) xy."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    squares = (x - cells[..., 0, None, None]) ** 2 + (y - cells[..., 1, None, None]) ** 2
    heatmaps: NDArray[np.float32] = (height * np.exp(-squares / 8)).astype(np.float32)
    return heatmaps


@pytest.fixture
def cells() -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform([8, 8], [40, 56], (3, 17, 2))


@pytest.fixture
def persons() -> Persons:
    boxes = np.array([[10, 20, 90, 200], [50, 0, 130, 60], [-5, -5, 300, 200]], np.float32)
    return Persons(boxes, np.array([0.9, 0.8, 0.5], np.float32), widen(boxes))


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_refinement_is_that_of_transformers(cells: NDArray[np.float64], noise: float) -> None:
    """Whose blur for a kernel of 11 has a sigma of 0.8; mmpose's, and ours otherwise, is OpenCV's of 2."""
    vitpose = pytest.importorskip("transformers.models.vitpose.image_processing_vitpose")
    heatmaps = gaussians(cells) + np.random.default_rng(1).normal(0, noise, (3, 17, 64, 48)).astype(
        np.float32
    )
    peaks, scores = find_peaks(heatmaps)
    coordinates, expected_scores = vitpose.get_keypoint_predictions(heatmaps)
    np.testing.assert_array_equal(peaks, coordinates)
    np.testing.assert_array_equal(scores, expected_scores[..., 0])
    expected = vitpose.post_dark_unbiased_data_processing(coordinates.astype(np.float64), heatmaps, kernel=11)
    steps = np.abs(expected - peaks)
    assert steps.max() < 2  # beyond which ours stays where it is
    found = refine_dark(heatmaps, peaks, sigma=0.8)
    assert np.abs(found - expected).max() <= 1e-4


@pytest.mark.parametrize("size", [(64, 48), (5, 4)])
def test_only_what_is_looked_at_is_blurred(size: tuple[int, int]) -> None:
    """As OpenCV blurs whole maps, with nothing beyond their border."""
    heatmaps = np.random.default_rng(2).random((2, 3, *size), np.float32) + 0.1
    y, x = np.random.default_rng(3).integers(1, np.array(size) - 1, (2, 3, 2)).transpose(2, 0, 1)
    found = np.exp(blurred_logarithms(heatmaps, np.stack([x, y], axis=2), sigma=2.0))
    for n, k in np.ndindex(2, 3):
        whole = cv2.GaussianBlur(heatmaps[n, k], (11, 11), 2.0, borderType=cv2.BORDER_CONSTANT)
        around = whole[y[n, k] - 1 : y[n, k] + 2, x[n, k] - 1 : x[n, k] + 2]
        np.testing.assert_allclose(found[n, k], around, atol=1e-5)


def test_keypoints_are_those_of_transformers(cells: NDArray[np.float64], persons: Persons) -> None:
    """Through the boxes, too. There a box's corner is a point of the image: half a pixel beside ours."""
    vitpose = pytest.importorskip("transformers.models.vitpose.image_processing_vitpose")
    torch = pytest.importorskip("torch")
    heatmaps = gaussians(cells)
    boxes = persons.boxes.astype(np.float64) - 0.5
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    answer = vitpose.VitPoseImageProcessor().post_process_pose_estimation(
        SimpleNamespace(heatmaps=torch.from_numpy(heatmaps)), [list(xywh)]
    )[0]
    expected = np.stack([person["keypoints"].numpy() for person in answer])
    refined = refine_dark(heatmaps, find_peaks(heatmaps)[0], sigma=0.8)
    found = grid_to_image(refined, persons.regions, HEIGHT, WIDTH)
    # Its centres and scales are float32.
    assert np.abs(found - expected).max() <= 1e-4
    scores = np.stack([person["scores"].numpy() for person in answer])
    np.testing.assert_array_equal(decode_keypoints({"heatmaps": heatmaps}, persons).scores, scores)


def test_keypoints_lie_where_the_gaussians_do(cells: NDArray[np.float64], persons: Persons) -> None:
    result = decode_keypoints({"heatmaps": gaussians(cells)}, persons)
    expected = grid_to_image(cells, persons.regions, HEIGHT, WIDTH)
    steps = (persons.regions[:, 2] - persons.regions[:, 0])[:, None, None] / (WIDTH - 1)
    assert (np.abs(result.points - expected) / steps).max() < 0.01
    assert result.names == KEYPOINT_NAMES
    assert result.skeleton == SKELETON
    np.testing.assert_array_equal(result.boxes, persons.boxes)
    assert result.points.dtype == result.scores.dtype == result.person_scores.dtype == np.float32


def test_the_plain_refinement_goes_a_quarter_of_a_cell() -> None:
    cells = np.array([[[20.4, 30.0], [20.0, 29.7], [10.2, 10.3], [0.0, 5.4]]])
    heatmaps = gaussians(cells)
    found = refine_quarter(heatmaps, find_peaks(heatmaps)[0])
    np.testing.assert_allclose(found[0], [[20.25, 30], [20, 29.75], [10.25, 10.25], [0, 5.25]])
    result = decode_keypoints(
        {"heatmaps": heatmaps},
        Persons(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([[0.5, 0.5, 47.5, 63.5]])),
        ("a", "b", "c", "d"),
        refinement="quarter",
    )
    np.testing.assert_allclose(result.points[0], found[0])
    assert result.skeleton == ()


def test_a_person_is_scored_by_box_and_visible_keypoints() -> None:
    heatmaps = np.zeros((2, 4, 8, 6), np.float32)
    heatmaps[0, :, 3, 3] = [0.1, 0.2, 0.4, 1.2]
    persons = Persons(
        np.ones((2, 4), np.float32), np.array([0.5, 0.9], np.float32), np.array([[0, 0, 6, 8]] * 2, float)
    )
    result = decode_keypoints({"heatmaps": heatmaps}, persons, tuple("abcd"))
    np.testing.assert_allclose(result.scores, [[0.1, 0.2, 0.4, 1.0], [0.0] * 4])
    np.testing.assert_allclose(result.person_scores, [0.5 * 0.7, 0])


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e30])
def test_maps_without_a_peak_give_finite_points(value: float) -> None:
    persons = Persons(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.array([[0.0, 0, 6, 8]]))
    flat = np.full((1, 17, 64, 48), value, np.float32)
    edge = flat.copy()
    edge[:, :, 0, 0] += 1
    noise = np.random.default_rng(0).normal(0, 1, flat.shape).astype(np.float32)
    for heatmaps in (flat, edge, noise):
        result = decode_keypoints({"heatmaps": heatmaps}, persons)
        assert np.isfinite(result.points).all()
        assert ((result.scores >= 0) & (result.scores <= 1)).all()
        peaks, _ = find_peaks(heatmaps)
        assert np.abs(refine_dark(heatmaps, peaks) - peaks).max() <= 2


def test_nobody_is_a_result() -> None:
    persons = Persons(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 4)))
    result = decode_keypoints({"heatmaps": np.zeros((0, 17, 64, 48), np.float32)}, persons)
    assert result.points.shape == (0, 17, 2)
    assert result.scores.shape == (0, 17)
    assert len(result) == 0


def test_heatmaps_that_cannot_be_true_are_refused(persons: Persons) -> None:
    with pytest.raises(EngineError, match="for 3 persons and 17 keypoints"):
        decode_keypoints({"heatmaps": np.zeros((2, 17, 64, 48), np.float32)}, persons)
    with pytest.raises(EngineError, match="not finite"):
        decode_keypoints({"heatmaps": np.full((3, 17, 64, 48), np.nan, np.float32)}, persons)


def test_the_best_people_are_found_among_the_detections() -> None:
    detections = Detections(
        np.arange(20, dtype=np.float32).reshape(5, 4) + np.array([0, 0, 30, 40], np.float32),
        np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32),
        np.array([1, 0, 1, 1, 0], np.int32),
        ("cone", "person"),
    )
    found = find_persons(detections, 2)
    np.testing.assert_array_equal(found.boxes, detections.boxes[[0, 2]])
    np.testing.assert_array_equal(found.scores, detections.scores[[0, 2]])
    np.testing.assert_allclose(found.regions, widen(found.boxes))
    letterbox = Letterbox(75, 107, 64, 64)
    shared = find_persons(detections, 9, letterbox)
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2)
    sides = (shared.regions * scale)[:, 2:] - (shared.regions * scale)[:, :2]
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], 0.75)  # exactly so in the network's frame
    slots = fill_slots(shared, letterbox, 5)
    np.testing.assert_allclose(slots[:3], letterbox.boxes_to_input(shared.boxes))
    np.testing.assert_array_equal(slots[3:], [[0, 0, 1, 1]] * 2)
    with pytest.raises(TaskError, match="class 'person', but its classes are: cone, cow"):
        find_persons(Detections(found.boxes, found.scores, np.zeros(2, np.int32), ("cone", "cow")), 2)


def test_the_grid_of_a_region_is_one_map_in_both_directions() -> None:
    rng = np.random.default_rng(3)
    region = np.array([-12.5, 30.0, 83.5, 158.0])
    cells = rng.uniform(0, 60, (1, 9, 2))
    points = grid_to_image(cells, region[None], HEIGHT, WIDTH)[0]
    matrix = grid_matrix(region, HEIGHT, WIDTH)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], cells[0], atol=1e-9)


def test_a_person_found_twice_is_told_once() -> None:
    rng = np.random.default_rng(3)
    person, other = rng.uniform(0, 100, (2, 17, 2))
    points = np.stack([person, other, person + 0.5, person + 30])
    boxes = np.tile(np.array([0, 0, 100, 100], np.float64), (4, 1))
    scores = np.array([0.5, 0.4, 0.9, 0.8], np.float32)
    assert distinct(points, scores, boxes).tolist() == [1, 2, 3]
    assert distinct(points[:0], scores[:0], boxes[:0]).tolist() == []


def test_doubles_are_measured_as_object_keypoint_similarity() -> None:
    """A shift d of all keypoints has the mean of exp(-d^2 / (2 area (2 sigma)^2))."""
    area, points = 50.0 * 80.0, np.zeros((2, 17, 2))
    boxes = np.tile(np.array([0, 0, 50, 80], np.float64), (2, 1))
    scores = np.array([0.9, 0.8], np.float32)

    def similarity(shift: float) -> float:
        return float(np.mean([np.exp(-(shift**2) / (2 * area * (2 * s) ** 2)) for s in OKS_SIGMAS]))

    for shift, count in ((2.0, 1), (4.0, 1 if similarity(4.0) > 0.9 else 2), (9.0, 2)):
        points[1, :, 0] = shift
        assert len(distinct(points, scores, boxes)) == count
    assert similarity(2.0) > 0.9 > similarity(9.0)
