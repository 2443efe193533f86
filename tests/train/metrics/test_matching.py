"""The largest matching against linear assignment, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from argus_edge.train.metrics.matching import Matcher, count_matches


def at(*columns: int) -> NDArray[np.bool_]:
    row = np.zeros((1, 12), bool)
    row[0, list(columns)] = True
    return row


def test_distance_is_inclusive_and_euclidean() -> None:
    assert count_matches(at(2), at(5), 3.0) == 1
    assert count_matches(at(2), at(5), 2.99) == 0
    corner, other = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    corner[0, 0] = other[3, 4] = True
    assert count_matches(corner, other, 5.0) == 1
    assert count_matches(corner, other, 4.99) == 0


def test_no_pixel_has_two_partners() -> None:
    assert count_matches(at(3, 4, 5), at(4), 2) == 1
    assert count_matches(at(4), at(3, 4, 5), 2) == 1


def test_a_near_pair_is_given_up_for_two_pairs() -> None:
    # Nearest first would pair 4 with 4 and leave 6 and 2 alone.
    assert count_matches(at(4, 6), at(2, 4), 2) == 2
    # The same along a chain: each has to move by one.
    assert count_matches(at(2, 4, 6, 8, 10), at(0, 2, 4, 6, 8), 2) == 5


def test_nothing_matches_nothing() -> None:
    assert count_matches(at(), at(1), 9) == count_matches(at(1), at(), 9) == count_matches(at(), at(), 9) == 0
    assert count_matches(at(1, 2), at(2, 3), 0) == 1


@pytest.mark.parametrize("seed", range(5))
def test_equals_linear_assignment(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(20):
        found, true = (random.random((10, 13)) < random.uniform(0.02, 0.6) for _ in range(2))
        distance = random.uniform(0, 4)
        gaps = ((np.argwhere(found)[:, None] - np.argwhere(true)[None]) ** 2).sum(-1)
        allowed = gaps <= distance**2
        rows, columns = linear_sum_assignment(allowed, maximize=True)
        assert count_matches(found, true, distance) == allowed[rows, columns].sum()


@pytest.mark.parametrize("seed", range(3))
def test_one_mask_after_another_is_the_same_as_each_alone(seed: int) -> None:
    random = np.random.default_rng(seed)
    true, values = random.random((14, 17)) < 0.3, random.random((14, 17))
    matcher = Matcher(true, 2.5)
    for threshold in (0.9, 0.7, 0.75, 0.3, 0.0, 2.0, 0.5):
        found = values >= threshold
        assert matcher.count(found) == count_matches(found, true, 2.5)
