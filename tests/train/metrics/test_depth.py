"""Depth figures against closed forms and a plain re-computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import DenseMap
from argus_edge.train.metrics import NYU, DepthMetrics, DepthProtocol


def measure(
    *images: tuple[NDArray[np.float32], NDArray[np.float32]], protocol: DepthProtocol | None = None
) -> dict[str, float]:
    metric = DepthMetrics(protocol)
    for predicted, true in images:
        metric.update(DenseMap(predicted, "m"), true)
    return metric.result()


def flat(value: float, shape: tuple[int, int] = (4, 5)) -> NDArray[np.float32]:
    return np.full(shape, value, np.float32)


@pytest.mark.parametrize(
    ("ratio", "deltas"), [(1.2, (1, 1, 1)), (1.5, (0, 1, 1)), (1.9, (0, 0, 1)), (2.0, (0, 0, 0))]
)
@pytest.mark.parametrize("average", ["image", "pixel"])
def test_a_constant_ratio_has_closed_forms(ratio: float, deltas: tuple[int, int, int], average: str) -> None:
    figures = measure((flat(2 * ratio), flat(2)), protocol=DepthProtocol(average=average))  # type: ignore[arg-type]
    assert figures["RMSE"] == pytest.approx(2 * ratio - 2, rel=1e-6)
    assert figures["abs_rel"] == pytest.approx(ratio - 1, rel=1e-6)
    assert figures["log10"] == pytest.approx(math.log10(ratio), rel=1e-6)
    assert (figures["delta1"], figures["delta2"], figures["delta3"]) == deltas


def test_perfect_depth_has_no_error() -> None:
    figures = measure((flat(3), flat(3)))
    assert [figures[name] for name in ("RMSE", "abs_rel", "log10")] == [0, 0, 0]
    assert [figures[name] for name in ("delta1", "delta2", "delta3")] == [1, 1, 1]


def test_the_two_averages_differ_as_stated() -> None:
    small, large = (flat(2, (1, 1)), flat(1, (1, 1))), (flat(5, (1, 3)), flat(2, (1, 3)))
    assert measure(small, large)["RMSE"] == pytest.approx((1 + 3) / 2)
    pooled = measure(small, large, protocol=DepthProtocol(average="pixel"))
    assert pooled["RMSE"] == pytest.approx(math.sqrt((1 + 3 * 9) / 4))
    assert pooled["abs_rel"] == pytest.approx((1 + 3 * 1.5) / 4)


def test_only_truth_inside_the_range_counts_and_predictions_are_clamped_to_it() -> None:
    true = np.array([[0, np.nan, np.inf, 10, 1e-3, 5, 5, 5, 5]], np.float32)
    predicted = np.array([[9, 9, 9, 9, 9, np.inf, np.nan, -3, 5]], np.float32)
    figures = measure((predicted, true))
    assert figures["pixels"] == 4
    assert figures["RMSE"] == pytest.approx(math.sqrt((5**2 + 2 * (5 - 1e-3) ** 2) / 4))
    assert all(map(math.isfinite, figures.values()))


def test_without_valid_depth_only_counts_remain() -> None:
    assert measure((flat(1), flat(0))) == {"images": 1, "pixels": 0}
    assert DepthMetrics().result() == {"images": 0, "pixels": 0}
    with_one = measure((flat(1), flat(0)), (flat(3), flat(2)))
    assert with_one["images"] == 2
    assert with_one["RMSE"] == pytest.approx(1)


def test_eigen_crop_keeps_its_part_of_nyu_frames() -> None:
    true = flat(0, (480, 640))
    true[45:471, 41:601] = 2
    true[0, 0] = true[471, 41] = true[45, 601] = 4
    figures = measure((flat(3, (480, 640)), true), protocol=NYU)
    assert figures["pixels"] == 426 * 560
    assert figures["RMSE"] == pytest.approx(1)
    with pytest.raises(InputError, match="Eigen crop is for"):
        measure((flat(1), flat(1)), protocol=NYU)


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(4, 5\) but the truth \(5, 4\)"):
        measure((flat(1), flat(1, (5, 4))))


@pytest.mark.parametrize("average", ["image", "pixel"])
@pytest.mark.parametrize("crop", ["none", "eigen"])
@pytest.mark.parametrize("seed", range(2))
def test_random_maps_against_a_plain_computation(seed: int, crop: str, average: str) -> None:
    random = np.random.default_rng(seed)
    images = [random.uniform(0.5, 11, (2, 480, 640)).astype(np.float32) for _ in range(3)]
    images[1][1][random.random((480, 640)) < 0.7] = 0  # fewer pixels than the others
    figures = measure(
        *((predicted, true) for predicted, true in images),
        protocol=DepthProtocol(average=average, crop=crop),  # type: ignore[arg-type]
    )
    rows = []
    for predicted, true in images:
        if crop == "eigen":
            predicted, true = predicted[45:471, 41:601], true[45:471, 41:601]
        counts = (true > 1e-3) & (true < 10)
        rows.append((predicted[counts].astype(np.float64).clip(1e-3, 10), true[counts].astype(np.float64)))
    if average == "pixel":
        rows = [(np.concatenate([p for p, _ in rows]), np.concatenate([t for _, t in rows]))]
    expected = {
        "RMSE": np.mean([np.sqrt(np.mean((p - t) ** 2)) for p, t in rows]),
        "abs_rel": np.mean([np.mean(np.abs(p - t) / t) for p, t in rows]),
        "log10": np.mean([np.mean(np.abs(np.log10(p) - np.log10(t))) for p, t in rows]),
    }
    for i in (1, 2, 3):
        expected[f"delta{i}"] = np.mean([np.mean(np.maximum(p / t, t / p) < 1.25**i) for p, t in rows])
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert figures["pixels"] == sum(t.size for _, t in rows)


def test_the_protocol_says_every_choice() -> None:
    assert DepthMetrics(NYU).protocol == "depth in (0.001, 10) m, mean over images, Eigen crop"
    assert DepthMetrics(DepthProtocol(average="pixel")).protocol.endswith("pixels pooled, no crop")
