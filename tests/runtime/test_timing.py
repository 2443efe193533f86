"""Whether times can be trusted. That turns are taken in turn is tested with the trial of an export."""

from __future__ import annotations

import numpy as np
import pytest

from argus_edge.runtime.timing import NOISY, drift, median_ratio, noise


@pytest.mark.parametrize(("second", "share"), [(1.0, 0.0), (1.04, 0.04), (0.5, 1.0), (3.0, 2.0)])
def test_drift_is_that_of_the_medians_of_the_halves(second: float, share: float) -> None:
    times = np.array([9.0, 10.0, 11.0, *(second * np.array([9.0, 10.0, 1000.0]))])
    assert drift(times) == pytest.approx(share)


def test_too_few_times_say_nothing() -> None:
    assert drift(np.array([1.0, 2.0, 3.0])) == 0


def test_the_noisiest_is_named() -> None:
    calm, noisy = np.full(10, 5.0), np.array([5.0] * 5 + [5.0 * (1 + 2 * NOISY)] * 5)
    assert noise({"a": calm, "b": calm * 1.01}) is None
    sentence = noise({"a": calm, "b": noisy})
    assert sentence is not None
    assert "halves of b differ by 10 %" in sentence
    assert noise({}) is None


def test_ratio_is_of_the_same_rounds() -> None:
    slowing = np.array([1.0, 2.0, 4.0])
    assert median_ratio(3 * slowing, slowing) == 3
