"""Angles between normals against closed forms and a plain computation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import NormalMap
from argus_edge.train.metrics import NormalMetrics


def tilted(*degrees: float) -> NDArray[np.float32]:
    """Normals (1, N, 3) that lean by so much [deg] from the camera's axis."""
    angles = np.radians(degrees)
    return np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=-1)[None].astype(
        np.float32
    )


def measure(*images: tuple[NDArray[np.float32], NDArray[np.float32]]) -> dict[str, float]:
    metric = NormalMetrics()
    for predicted, true in images:
        metric.update(NormalMap(predicted), true)
    return metric.result()


AHEAD = tilted(0, 0, 0, 0)


def test_known_angles() -> None:
    figures = measure((tilted(5, 20, 25, 90), AHEAD))
    assert figures["mean_angle"] == pytest.approx(35, abs=1e-4)
    assert figures["median_angle"] == pytest.approx(22.5, abs=2e-3)
    assert figures["rms_angle"] == pytest.approx(np.sqrt((25 + 400 + 625 + 8100) / 4), abs=1e-4)
    assert (figures["within_11.25"], figures["within_22.5"], figures["within_30"]) == (0.25, 0.5, 0.75)


def test_small_and_opposite_angles_are_exact() -> None:
    # The arc cosine of a product in single precision would be 0 here.
    assert measure((tilted(0.01), tilted(0)))["mean_angle"] == pytest.approx(0.01, rel=1e-4)
    assert measure((tilted(180), tilted(0)))["mean_angle"] == pytest.approx(180, abs=1e-4)
    assert measure((tilted(180), tilted(0)))["median_angle"] == pytest.approx(180, abs=2e-3)


def test_lengths_do_not_matter_and_no_direction_is_ninety_degrees() -> None:
    assert measure((7 * tilted(30), 0.2 * tilted(10)))["mean_angle"] == pytest.approx(20, abs=1e-4)
    nowhere = np.array([[[0, 0, 0], [np.nan, 0, 1]]], np.float32)
    assert measure((nowhere, tilted(0, 0)))["mean_angle"] == pytest.approx(90)


def test_only_truth_with_a_direction_counts_and_pixels_are_pooled() -> None:
    true = AHEAD.copy()
    true[0, 1:] = 0, np.nan, np.inf
    figures = measure((tilted(60, 0, 0, 0), true), (tilted(10, 20), AHEAD[:, :2]))
    assert figures["pixels"] == 3
    assert figures["mean_angle"] == pytest.approx(30, abs=1e-4)
    assert figures["median_angle"] == pytest.approx(20, abs=2e-3)


def test_without_truth_only_counts_remain() -> None:
    assert measure((AHEAD, 0 * AHEAD)) == {"images": 1, "pixels": 0}


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(1, 1, 3\) but the truth \(1, 4, 3\)"):
        measure((tilted(0), AHEAD))


def test_random_maps_against_a_plain_computation() -> None:
    random = np.random.default_rng(0)
    images = [random.normal(size=(2, 11, 13, 3)).astype(np.float32) for _ in range(5)]
    for predicted, true in images:
        predicted[::2] = true[::2] + 0.4 * predicted[::2]  # half of them near
    figures = measure(*((pair[0], pair[1]) for pair in images))
    p, t = np.concatenate(images, axis=1).astype(np.float64).reshape(2, -1, 3)
    cosine = (p * t).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(t, axis=1)
    angles = np.degrees(np.arccos(cosine))
    assert figures["mean_angle"] == pytest.approx(angles.mean(), abs=1e-9)
    assert figures["rms_angle"] == pytest.approx(np.sqrt((angles**2).mean()), abs=1e-9)
    assert figures["median_angle"] == pytest.approx(np.median(angles), abs=1.1e-3)
    for limit in (11.25, 22.5, 30):
        assert figures[f"within_{limit:g}"] == (angles < limit).mean()
