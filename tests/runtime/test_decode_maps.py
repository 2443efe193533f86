"""Normals, anomalies and class probabilities in the original image's frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.geometry import Letterbox
from argus_edge.runtime.decode import decode_anomaly, decode_normal_map, decode_scores
from argus_edge.runtime.decode.dense_map import map_to_image
from argus_edge.runtime.decode.normal_map import normals_to_image
from tests.runtime.references import decode as reference

SIZES = pytest.mark.parametrize(("height", "width"), [(2160, 4096), (48, 64), (321, 517), (1, 1)])
NAMES = ("screw", "leather")


def _directions(height: int, width: int, size: int) -> NDArray[np.float32]:
    """(1, 3, size, size): over the image the direction turns from left to right, the padding is (9, 9, 9)."""
    letterbox = Letterbox(height, width, size, size)
    planes = np.full((3, size, size), 9, np.float32)
    angle = np.linspace(-1, 1, letterbox.resized_width)
    inside = np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)]).astype(np.float32)
    planes[:, : letterbox.resized_height, : letterbox.resized_width] = inside[:, None]
    return planes[None]


both = pytest.mark.parametrize("run", [normals_to_image, reference.normals_to_image], ids=["c++", "numpy"])


@SIZES
@both
def test_normals_keep_their_length_and_direction(run: Any, height: int, width: int) -> None:
    letterbox = Letterbox(height, width, 128, 128)
    normals = run(_directions(height, width, 128)[0], letterbox)
    assert normals.shape == (height, width, 3)
    assert normals.dtype == np.float32
    normals = normals[:: max(1, height // 40)]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    places = ((np.arange(width) + 0.5) * letterbox.scale_x - 0.5) / max(letterbox.resized_width - 1, 1)
    angle = np.clip(places, 0, 1) * 2 - 1
    expected = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], axis=-1)
    np.testing.assert_allclose(normals, np.broadcast_to(expected, normals.shape), atol=1e-3)


@SIZES
def test_both_implementations_agree(height: int, width: int) -> None:
    planes = np.random.default_rng(height).normal(0, 1, (3, 64, 64)).astype(np.float32)
    letterbox = Letterbox(height, width, 64, 64)
    compiled = decode_normal_map({"normals": planes[None]}, letterbox).normals
    np.testing.assert_allclose(compiled, reference.normals_to_image(planes, letterbox), atol=1e-4)
    values = map_to_image(planes[0], letterbox)
    np.testing.assert_allclose(values, letterbox.map_to_image(planes[0], "bilinear"), atol=1e-4)


@both
def test_opposite_normals_cancel_to_zero_not_to_nan(run: Any) -> None:
    planes = np.zeros((3, 2, 2), np.float32)
    planes[2] = [[1, -1], [1, -1]]
    normals = run(planes, Letterbox(3, 3, 2, 2))
    np.testing.assert_array_equal(normals[:, 1], 0)
    np.testing.assert_array_equal(normals[:, 0], [[0, 0, 1]] * 3)


@SIZES
def test_an_anomaly_stays_in_its_place(height: int, width: int) -> None:
    letterbox = Letterbox(height, width, 256, 256)
    maps = np.full((1, 2, 32, 32), 50, np.float32)  # 50 in the padding, which must not come out or count
    rows = max(1, round(letterbox.resized_height / 8))
    columns = max(1, round(letterbox.resized_width / 8))
    maps[0, :, :rows, :columns] = -1
    y, x = rows // 2, columns // 2
    maps[0, 1, y, x] = 2
    result = decode_anomaly({"maps": maps}, letterbox, NAMES)
    assert result.maps.shape == (2, height, width)
    assert result.maps.dtype == result.scores.dtype == np.float32
    np.testing.assert_array_equal(result.scores, [-1, 2])  # the score is that before smoothing
    if min(height, width) > 1:
        peak_y, peak_x = divmod(int(result.maps[1].argmax()), width)
        assert abs((peak_y + 0.5) * letterbox.scale_y - (8 * y + 4)) <= 4
        assert abs((peak_x + 0.5) * letterbox.scale_x - (8 * x + 4)) <= 4
        # Smoothing spreads a peak, but keeps its sum above the ground.
        area = letterbox.scale_x * letterbox.scale_y
        assert np.sum(result.maps[1] - result.maps[0]) * area == pytest.approx(3 * 64, rel=0.05)


def test_the_smoothing_is_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    maps = np.random.default_rng(0).normal(size=(1, 1, 64, 64)).astype(np.float32)
    letterbox = Letterbox(64, 64, 64, 64)  # neither interpolation changes a map that is full size
    expected = ndimage.gaussian_filter(maps[0, 0].astype(np.float64), sigma=4)
    result = decode_anomaly({"maps": maps}, letterbox, NAMES[:1])
    np.testing.assert_allclose(result.maps[0], expected, atol=1e-6)
    assert result.scores[0] == maps.max()


def test_probabilities_get_their_names() -> None:
    outputs = {"probabilities": np.array([[0.25, 0.75]], np.float32)}
    result = decode_scores(outputs, NAMES)
    assert result.top(1) == (("leather", 0.75),)
    outputs["probabilities"][:] = 0  # as an engine does on its next run
    assert result.probabilities.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    letterbox = Letterbox(9, 9, 32, 32)
    with pytest.raises(EngineError, match="'normals' holds numbers that are not finite"):
        decode_normal_map({"normals": np.full((1, 3, 32, 32), number, np.float32)}, letterbox)
    with pytest.raises(EngineError, match="'maps' holds numbers that are not finite"):
        decode_anomaly({"maps": np.full((1, 2, 4, 4), number, np.float32)}, letterbox, NAMES)
    with pytest.raises(EngineError, match="'probabilities' holds numbers that are not finite"):
        decode_scores({"probabilities": np.full((1, 2), number, np.float32)}, NAMES)


def test_as_many_names_as_answers() -> None:
    with pytest.raises(EngineError, match="3 maps, but the package names 2"):
        decode_anomaly({"maps": np.zeros((1, 3, 4, 4), np.float32)}, Letterbox(9, 9, 32, 32), NAMES)
    with pytest.raises(EngineError, match="3 classes, but the package names 2"):
        decode_scores({"probabilities": np.zeros((1, 3), np.float32)}, NAMES)
