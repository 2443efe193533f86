"""Times of several things that do the same, taken in turn, so that a drifting machine cancels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.spec import PRECISIONS, Precision

__all__ = ["GAIN", "Times", "fastest", "interleaved", "median_ratio"]

WARM_UP: Final = 2  # runs
GAIN: Final = 0.02  # what a lower precision has to gain over a higher one, of its time, to be worth it

Times = NDArray[np.float64]  # (N,) [ms], one for each round


def interleaved(runs: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, Times]:
    """The times [ms] of `rounds` rounds, in each of which every run has one turn; who is first rotates.

    A run gets the number of the round.
    """
    names = list(runs)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-WARM_UP, rounds):
        for name in names:
            start = time.perf_counter_ns()
            runs[name](max(number, 0))
            times[name].append((time.perf_counter_ns() - start) / 1e6)
        names.append(names.pop(0))
    return {name: np.array(each[WARM_UP:]) for name, each in times.items()}


def median_ratio(times: Times, reference: Times) -> float:
    """Median over the rounds of one's time by the other's."""
    return float(np.median(times / reference))


def fastest(times: Mapping[Precision, Times]) -> Precision:
    """The precision to take. `times` has fp32 and those that lose no more than they may.

    A lower one must be faster by `GAIN` than the one chosen so far, or it costs accuracy for nothing.
    """
    chosen: Precision = "fp32"
    for precision in PRECISIONS:
        if precision in times and median_ratio(times[precision], times[chosen]) < 1 - GAIN:
            chosen = precision
    return chosen
