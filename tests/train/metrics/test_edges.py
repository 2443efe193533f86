"""Boundary figures: a case counted by hand, and a plain computation at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from argus_edge.errors import InputError
from argus_edge.results import DenseMap
from argus_edge.train.metrics import NYUD, PASCAL_CONTEXT, EdgeMetrics, EdgeProtocol
from argus_edge.train.metrics.thinning import thin

SIDE = 20
NINE = EdgeProtocol(tolerance=0.075, thresholds=9)  # 2.1 px here; thresholds 0.1, 0.2, ... 0.9


def lines(*parts: tuple[int, slice, float]) -> NDArray[np.float32]:
    """Vertical lines: column, rows, value."""
    values = np.zeros((SIDE, SIDE), np.float32)
    for column, rows, value in parts:
        values[rows, column] = value
    return values


def measure(
    *images: tuple[NDArray[np.float32], NDArray[np.float32]], protocol: EdgeProtocol = NINE
) -> EdgeMetrics:
    metric = EdgeMetrics(protocol)
    for predicted, true in images:
        metric.update(DenseMap(predicted, ""), true)
    return metric


# 16 true pixels. Sure: 8, one column beside. Likely: 16 where nothing is. Possible: 6 in their place.
FIRST = (
    lines((11, slice(2, 10), 0.95), (16, slice(2, 18), 0.55), (10, slice(12, 18), 0.35)),
    lines((10, slice(2, 18), 1)),
)
SECOND = (lines((4, slice(5, 15), 0.55)), lines((4, slice(5, 15), 1)))  # 10 pixels, all found


def test_counts_and_figures_by_hand() -> None:
    metric = measure(FIRST)
    assert metric.pooled.tolist() == [[14, 30, 16]] * 3 + [[8, 24, 16]] * 2 + [[8, 8, 16]] * 4
    figures = metric.result()
    assert figures["odsF"] == figures["oisF"] == pytest.approx(16 / 24, abs=1e-12)
    assert (figures["ods_precision"], figures["ods_recall"], figures["ods_threshold"]) == (1, 0.5, 0.6)
    assert (figures["images"], figures["pixels"]) == (1, 16)


def test_counts_are_pooled_over_images() -> None:
    metric = measure(FIRST, SECOND)
    assert metric.pooled.tolist() == [[24, 40, 26]] * 3 + [[18, 34, 26]] * 2 + [[8, 8, 26]] * 4
    figures = metric.result()
    assert figures["odsF"] == pytest.approx(48 / 66, abs=1e-12)
    assert figures["ods_threshold"] == pytest.approx(0.1)
    # The first image at 0.6, the second at 0.1: 8 + 10 of 8 + 10 predicted and 26 true pixels.
    assert figures["oisF"] == pytest.approx(36 / 44, abs=1e-12)
    area = 8 / 26 + (10 / 26) * (1 + 18 / 34) / 2 + (6 / 26) * (18 / 34 + 24 / 40) / 2
    assert figures["AP"] == pytest.approx(area, abs=1e-12)


def test_tolerance_is_a_share_of_the_diagonal() -> None:
    beside = (lines((11, slice(2, 18), 1)), lines((9, slice(2, 18), 1)))
    assert measure(beside).result()["odsF"] == 1  # 2 px apart, 2.1 allowed
    assert measure(beside, protocol=EdgeProtocol(tolerance=0.07)).result()["odsF"] == 0
    assert (NYUD.tolerance, PASCAL_CONTEXT.tolerance, NYUD.thresholds) == (0.011, 0.0075, 99)
    assert EdgeMetrics().thresholds.tolist() == pytest.approx(np.linspace(0.01, 0.99, 99).tolist())


def test_thick_predictions_are_thinned_and_thick_truth_on_request() -> None:
    thick = lines(*((column, slice(2, 18), 1) for column in (9, 10, 11)))
    thin_line = lines((10, slice(2, 18), 1))
    figures = measure((thick, thin_line)).result()
    assert figures["ods_precision"] == 1
    assert figures["ods_recall"] == pytest.approx(14 / 16)  # a bar loses a pixel at both ends
    assert measure((thick, thick)).result()["ods_recall"] < 0.4
    also = EdgeProtocol(tolerance=0.075, thresholds=9, thin_truth=True)
    assert measure((thick, thick), protocol=also).result()["odsF"] == 1
    assert str(also).startswith("boundary F, 9 thresholds, thinned, truth thinned, one-to-one within 0.075")


def test_nothing_predicted_and_nothing_true() -> None:
    figures = measure((lines(), FIRST[1])).result()
    assert figures["odsF"] == figures["oisF"] == figures["AP"] == 0
    assert measure((FIRST[0], lines())).result() == {"images": 1, "pixels": 0}
    # Without truth, what is predicted is false: at the lowest threshold, as none is better.
    assert measure(SECOND, (FIRST[0], lines())).result()["oisF"] == pytest.approx(20 / (10 + 30 + 10))


def test_what_the_truth_does_not_say_does_not_count() -> None:
    true = lines((10, slice(2, 10), 1))
    true[12:] = 255
    predicted = lines((10, slice(2, 10), 1), (4, slice(12, 18), 1), (16, slice(14, 20), 1))
    metric = measure((predicted, true))
    assert metric.pooled.tolist() == [[8, 8, 8]] * 9
    assert metric.result()["odsF"] == 1


def test_bad_maps_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(20, 20\) but the truth \(3, 3\)"):
        measure((lines(), np.zeros((3, 3), np.float32)))
    with pytest.raises(InputError, match=r"truth must be 0, 1 or 255, got \[0.0, 7.0\]"):
        measure((lines(), lines((3, slice(4, 6), 7))))


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_computation(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :30]
    true = thin(np.abs((x - 15) ** 2 + (y - 12) ** 2 - 64) < 12)
    soft = np.exp(-np.abs(np.hypot(x - 16, y - 12) - 8) / 2) * 0.8 + 0.2 * random.random(true.shape)
    predicted = soft.astype(np.float32)
    metric = EdgeMetrics(EdgeProtocol(tolerance=0.04, thresholds=19))
    metric.update(DenseMap(predicted, ""), true)
    distance = 0.04 * np.hypot(24, 30)
    for threshold, counts in zip(metric.thresholds, metric.pooled.tolist(), strict=True):
        found = thin(predicted >= threshold)
        gaps = np.linalg.norm(np.argwhere(found)[:, None] - np.argwhere(true)[None], axis=-1)
        rows, columns = linear_sum_assignment(gaps <= distance, maximize=True)
        matched = int((gaps <= distance)[rows, columns].sum())
        assert counts == [matched, found.sum(), true.sum()]
    assert 0.3 < metric.result()["odsF"] < 1
