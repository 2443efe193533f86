"""Depth figures against closed forms and a plain re-computation."""

from __future__ import annotations

import math
from types import SimpleNamespace

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
        metric.update(DenseMap(predicted, "m"), SimpleNamespace(depth=true))
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


def test_random_maps_against_a_plain_computation() -> None:
    random = np.random.default_rng(0)
    images = [(random.uniform(0.5, 9, (9, 8)), random.uniform(0.5, 9, (9, 8))) for _ in range(4)]
    figures = measure(*((p.astype(np.float32), t.astype(np.float32)) for p, t in images))
    rmse = np.mean([math.sqrt(np.mean((p - t) ** 2)) for p, t in images])
    delta2 = np.mean([np.mean(np.maximum(p / t, t / p) < 1.25**2) for p, t in images])
    assert figures["RMSE"] == pytest.approx(rmse, rel=1e-6)
    assert figures["delta2"] == pytest.approx(delta2)


def test_the_protocol_says_every_choice() -> None:
    assert DepthMetrics(NYU).protocol == "depth in (0.001, 10) m, mean over images, Eigen crop"
    assert DepthMetrics(DepthProtocol(average="pixel")).protocol.endswith("pixels pooled, no crop")
