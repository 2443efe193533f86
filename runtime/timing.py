"""Times of several things that do the same, taken in turn, so that a drifting machine cancels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.runtime.engines import Array, Engine

__all__ = ["NOISY", "Times", "drift", "engine_run", "interleaved", "median_ratio", "noise"]

WARM_UP: Final = 2  # runs
FEWEST: Final = 2  # rounds, however long they take
NOISY: Final = (
    0.05  # difference of the medians of two halves, as a share, from which on a machine is too noisy
)

Times = NDArray[np.float64]  # (N,) [ms], in the order in which they were taken


def interleaved(
    runs: Mapping[str, Callable[[int], object]], rounds: int, within: float = math.inf
) -> dict[str, Times]:
    """The times [ms] of `rounds` rounds, in each of which every run has one turn; who is first rotates.

    A run gets the number of the round. After `within` [s] one round was enough to warm up, and `FEWEST` to
    measure.
    """
    begun = time.perf_counter()
    names = list(runs)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-WARM_UP, rounds):
        late = time.perf_counter() - begun > within
        if late and (-WARM_UP < number < 0 or number >= FEWEST):
            continue
        for name in names:
            start = time.perf_counter_ns()
            runs[name](max(number, 0))
            if number >= 0:
                times[name].append((time.perf_counter_ns() - start) / 1e6)
        names.append(names.pop(0))
    return {name: np.array(each) for name, each in times.items()}


def engine_run(engine: Engine, inputs: Mapping[str, Array]) -> Callable[[int], object]:
    """An engine on the same inputs every time, as `interleaved` takes it."""
    return lambda _: engine.run(inputs)


def median_ratio(times: Times, reference: Times) -> float:
    """Median over the rounds of one's time by the other's."""
    return float(np.median(times / reference))


def drift(times: Times) -> float:
    """How far the medians of the first and the second half lie apart, as a share of the smaller one.

    0 for fewer than four times, of which nothing can be said.
    """
    if len(times) < 4:
        return 0.0
    halves = [float(np.median(half)) for half in np.array_split(times, 2)]
    return max(halves) / min(halves) - 1


def noise(times: Mapping[str, Times]) -> str | None:
    """One sentence where the machine was too noisy for a repeat to give the same medians within NOISY."""
    drifts = {name: drift(each) for name, each in times.items()}
    worst = max(drifts, key=drifts.__getitem__, default=None)
    if worst is None or drifts[worst] <= NOISY:
        return None
    return (
        f"the machine was too noisy: the medians of the two halves of {worst} differ by "
        f"{100 * drifts[worst]:.0f} %, wanted at most {100 * NOISY:.0f} %; compare ratios alone, or repeat"
    )
