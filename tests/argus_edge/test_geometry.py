from __future__ import annotations

import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.geometry import Interpolation, Letterbox

SIZES = [
    (2160, 4096),
    (48, 64),
    (517, 321),
    (321, 517),
    (320, 320),
    (1, 1),
    (1, 5000),
    (5000, 1),
    (719, 1283),
]
letterboxes = pytest.mark.parametrize(
    "letterbox", [Letterbox(h, w, 320, 320) for h, w in SIZES] + [Letterbox(480, 640, 256, 448)], ids=str
)


@letterboxes
def test_boxes_come_back(letterbox: Letterbox) -> None:
    random = np.random.default_rng(0)
    size = np.array([letterbox.image_width, letterbox.image_height] * 2)
    corners = np.sort(random.uniform(0, 1, (200, 2, 2)), axis=1).reshape(200, 4)
    boxes = np.vstack([corners, [[0, 0, 1, 1]]]) * size
    unit = letterbox.boxes_to_input(boxes)
    assert unit.min() >= 0
    assert unit.max() <= 1
    np.testing.assert_allclose(letterbox.boxes_to_image(unit), boxes, rtol=0, atol=0.5)


@letterboxes
def test_points_come_back(letterbox: Letterbox) -> None:
    points = np.random.default_rng(0).uniform(0, 1, (200, 2)) * [
        letterbox.image_width,
        letterbox.image_height,
    ]
    back = letterbox.points_to_image(letterbox.points_to_input(points))
    np.testing.assert_allclose(back, points, rtol=0, atol=0.01)


@letterboxes
def test_the_image_fits_and_keeps_its_aspect(letterbox: Letterbox) -> None:
    height, width = letterbox.resized_height, letterbox.resized_width
    assert height == letterbox.input_height or width == letterbox.input_width
    assert height <= letterbox.input_height
    assert width <= letterbox.input_width
    scale = min(
        letterbox.input_height / letterbox.image_height, letterbox.input_width / letterbox.image_width
    )
    for side, exact in ((height, letterbox.image_height * scale), (width, letterbox.image_width * scale)):
        assert abs(side - exact) <= 0.5 or (side == 1 and exact < 1)


@pytest.mark.parametrize(
    ("image", "resized"),
    [((2160, 4096), (169, 320)), ((48, 64), (240, 320)), ((517, 321), (320, 199)), ((5000, 1), (320, 1))],
)
def test_known_sizes(image: tuple[int, int], resized: tuple[int, int]) -> None:
    letterbox = Letterbox(*image, 320, 320)
    assert (letterbox.resized_height, letterbox.resized_width) == resized


def test_boxes_are_clipped_to_the_image() -> None:
    letterbox = Letterbox(240, 320, 320, 320)
    box = letterbox.boxes_to_image(np.array([[-0.2, 0.1, 1.3, 1.0]]))
    np.testing.assert_allclose(box, [[0, 32, 320, 240]])


def test_no_boxes_are_fine() -> None:
    assert Letterbox(240, 320, 320, 320).boxes_to_image(np.zeros((0, 4))).shape == (0, 4)


def test_points_name_pixel_centres() -> None:
    # Twice as large: the centre of pixel 0 lies 0.5 px from the edge, 1.0 px in the input: between 0 and 1.
    point = Letterbox(160, 160, 320, 320).points_to_input(np.array([[0.0, 0.0]]))
    np.testing.assert_allclose(point, [[0.5, 0.5]])


@letterboxes
def test_nearest_takes_the_pixel_below_each_centre(letterbox: Letterbox) -> None:
    labels = np.random.default_rng(0).integers(
        0, 9, (letterbox.input_height, letterbox.input_width), np.uint8
    )
    labels[letterbox.resized_height :] = 255
    labels[:, letterbox.resized_width :] = 255
    got = letterbox.map_to_image(labels, "nearest")
    assert got.shape == (letterbox.image_height, letterbox.image_width)
    assert got.dtype == np.uint8
    assert got.max() < 9  # nothing of the padding
    for y, x in np.random.default_rng(1).integers(0, got.shape, (50, 2)):
        row, column = int((y + 0.5) * letterbox.scale_y), int((x + 0.5) * letterbox.scale_x)
        assert got[y, x] == labels[row, column]


def test_bilinear_keeps_a_slope_where_it_was() -> None:
    letterbox = Letterbox(480, 640, 320, 320)
    slope = np.tile(np.arange(320, dtype=np.float32), (320, 1))  # value = column of the network input
    got = letterbox.map_to_image(slope, "bilinear")
    expected = (np.arange(640) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(got[100, 2:-2], expected[2:-2], atol=1e-3)
    assert got.shape == (480, 640)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_map_of_another_size_is_refused(interpolation: Interpolation) -> None:
    with pytest.raises(InputError, match=r"map must be \(320, 320\).*got \(80, 80\)"):
        Letterbox(480, 640, 320, 320).map_to_image(np.zeros((80, 80), np.float32), interpolation)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"boxes must be \(N, 4\), got \(4,\)"):
        Letterbox(480, 640, 320, 320).boxes_to_image(np.zeros(4))
    with pytest.raises(InputError, match="at least 1 px"):
        Letterbox(0, 640, 320, 320)
