"""The tail and its trust, against numbers of MLPerf and of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from argus_edge.runtime.bench.statistics import (
    CONFIDENCE,
    discarded,
    early_stopping,
    jitter,
    percentiles,
    queries_needed,
    ratio_interval,
)


@pytest.mark.parametrize(("share", "queries"), [(0.9, 64), (0.99, 662)])
def test_fewest_queries_are_those_that_mlperf_states(share: float, queries: int) -> None:
    """Inference rules: 64 queries of SingleStream and 662 of MultiStream are the fewest."""
    assert queries_needed(share) == queries
    assert (discarded(queries - 1, share), discarded(queries, share)) == (0, 1)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("count", [1, 64, 500, 5000, 24576])
def test_discarded_is_the_binomial_bound(count: int, share: float) -> None:
    most = np.arange(count + 1)[binom.cdf(np.arange(count + 1), count, 1 - share) <= 1 - CONFIDENCE]
    assert discarded(count, share) == (most[-1] if len(most) else 0)


def test_estimate_covers_the_quantile_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    true = -np.log(0.1)  # of the exponential distribution, at 0.9
    covered = [early_stopping(random.exponential(size=300), 0.9) for _ in range(2000)]
    share = np.mean([estimate is not None and estimate >= true for estimate in covered])
    assert share >= CONFIDENCE - 3 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / 2000)


def test_estimate_is_one_of_the_highest_times() -> None:
    times = np.random.default_rng(1).permutation(64).astype(float)
    assert early_stopping(times, 0.9) == 63  # t = 1: nothing may be discarded
    assert early_stopping(times[:63], 0.9) is None


def test_percentiles_beyond_the_samples_are_not_invented() -> None:
    found = percentiles(np.arange(101.0))
    assert found == {"p50": 50.0, "p90": 90.0, "p99": pytest.approx(99.0), "p99.9": None}
    assert percentiles(np.empty(0)) == dict.fromkeys(found)


def test_jitter_is_within_blocks() -> None:
    assert jitter([np.array([1.0, 2.0, 4.0]), np.array([100.0, 101.0])]) == pytest.approx(4 / 3)
    assert jitter([np.array([5.0]), np.array([7.0])]) is None


def test_interval_of_paired_blocks_cancels_drift() -> None:
    """One is 10 % slower, on a machine that gets twice as slow while both are measured in turn."""
    random = np.random.default_rng(2)
    drift = np.linspace(1, 2, 10)
    reference = [speed * random.normal(10, 0.05, 50) for speed in drift]
    slower = [speed * random.normal(11, 0.05, 50) for speed in drift]
    paired = ratio_interval(slower, reference, paired=True, seed=0)
    apart = ratio_interval(slower, reference, paired=False, seed=0)
    assert paired is not None
    assert apart is not None
    assert paired.low <= 1.1 <= paired.high
    assert paired.tells
    assert not apart.tells
    assert apart.high - apart.low > 5 * (paired.high - paired.low)


def test_interval_needs_two_blocks() -> None:
    assert ratio_interval([np.ones(9)], [np.ones(9)], paired=True, seed=0) is None


def test_interval_of_equals_holds_one() -> None:
    """95 of 100 such intervals hold 1; a bootstrap of ten blocks a few less."""
    random = np.random.default_rng(3)
    held = 0
    for seed in range(25):
        ours, theirs = ([random.normal(10, 1, 20) for _ in range(10)] for _ in range(2))
        interval = ratio_interval(ours, theirs, paired=True, seed=seed)
        assert interval is not None
        held += not interval.tells
    assert held >= 20
