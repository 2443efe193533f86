"""Percentiles, how far a tail can be trusted, and intervals of ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONFIDENCE",
    "PERCENTILES",
    "Interval",
    "discarded",
    "early_stopping",
    "jitter",
    "percentiles",
    "queries_needed",
    "ratio_interval",
]

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
CONFIDENCE: Final = 0.99  # of early stopping, as in MLPerf's LoadGen
COVERAGE: Final = 0.95  # of a bootstrap interval
RESAMPLES: Final = 2000

Samples = NDArray[np.float64]


def percentiles(times: Samples) -> dict[str, float | None]:
    """Return "p50" to "p99.9" of some times; None where less than one of them lies beyond."""
    return {
        name: float(np.quantile(times, share)) if len(times) * (1 - share) >= 1 - 1e-9 else None
        for name, share in PERCENTILES.items()
    }


def jitter(blocks: Sequence[Samples]) -> float | None:
    """Mean difference of a time from the one before it; None where no two follow each other in a block."""
    steps = np.concatenate([np.abs(np.diff(block)) for block in blocks]) if blocks else np.empty(0)
    return float(np.mean(steps)) if len(steps) else None


def discarded(count: int, share: float) -> int:
    """How many of the highest of `count` times may lie over the `share` quantile and still be left out.

    The largest t for which at most t of `count` are over the quantile with a probability of no more than
    1 - CONFIDENCE: the early stopping of MLPerf's LoadGen (mlcommons/inference, loadgen/early_stopping.cc,
    with a tolerance of 0). 0 where `count` is too small for any.
    """
    log_over, log_under = math.log1p(-share), math.log(share)
    total, limit, most = -math.inf, math.log(1 - CONFIDENCE), 0
    for over in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(over + 1) - math.lgamma(count - over + 1)
        total = float(np.logaddexp(total, ways + over * log_over + (count - over) * log_under))
        if total > limit:
            break
        most = over
    return most


def queries_needed(share: float) -> int:
    """The fewest queries for which early stopping estimates the `share` quantile."""
    count = 1
    while not discarded(count, share):
        count *= 2
    low, high = count // 2, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if discarded(middle, share) else (middle, high)
    return high


def early_stopping(times: Samples, share: float) -> float | None:
    """A time that the `share` quantile does not exceed, with CONFIDENCE; None where there are too few.

    Of `discarded` highest times the lowest, as LoadGen's results.cc takes it.
    """
    over = discarded(len(times), share)
    return float(np.sort(times)[len(times) - over]) if over else None


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio of two medians, and where it lies in COVERAGE of all resamples."""

    ratio: float
    low: float
    high: float

    @property
    def tells(self) -> bool:
        """Whether 1 lies outside."""
        return not self.low <= 1 <= self.high


def ratio_interval(
    blocks: Sequence[Samples], reference: Sequence[Samples], *, paired: bool, seed: int
) -> Interval | None:
    """Median of one's times by that of the other's, with a bootstrap interval (percentile method).

    Whole blocks are drawn, as times beside each other are alike. `paired`: block i of both was measured at
    the same time, so both get the same draw and a drift of the machine cancels. None for fewer than two
    blocks, which have no spread.
    """
    if min(len(blocks), len(reference)) < 2:
        return None
    random = np.random.default_rng(seed)
    ratios = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        ours = random.integers(len(blocks), size=len(blocks))
        theirs = ours if paired else random.integers(len(reference), size=len(reference))
        ratios[i] = _median(blocks, ours) / _median(reference, theirs)
    low, high = np.quantile(ratios, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    every = (range(len(blocks)), range(len(reference)))
    return Interval(_median(blocks, every[0]) / _median(reference, every[1]), float(low), float(high))


def _median(blocks: Sequence[Samples], chosen: Sequence[int] | NDArray[np.int64] | range) -> float:
    return float(np.median(np.concatenate([blocks[i] for i in chosen])))
