"""Latency by stage: collected while frames pass, told in percentiles on one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from argus_edge.runtime.machine import Machine

PERCENTILES: Final = (50, 90, 99)
WARM_UP: Final = 5


@dataclass(frozen=True, slots=True)
class StageLatency:
    """Times of one stage [ms]."""

    p50: float
    p90: float
    p99: float
    mean: float


class LatencyTable:
    """Times of every stage, frame by frame.

    The first frames, WARM_UP of them but at most a fifth of all, are left out: caches and clocks settle.
    """

    def __init__(self) -> None:
        self._frames: list[Mapping[str, float]] = []

    def add(self, timings: Mapping[str, float]) -> None:
        """Add one frame: stage -> time [ms]."""
        self._frames.append(timings)

    @property
    def warm_up(self) -> int:
        """Number of frames at the start that are left out."""
        return min(WARM_UP, len(self._frames) // 5)

    @property
    def measured(self) -> int:
        """Number of frames that count."""
        return len(self._frames) - self.warm_up

    def stages(self) -> dict[str, StageLatency]:
        """Stage -> its latency, in the order in which the stages first came. Empty without frames."""
        counted = self._frames[self.warm_up :]
        stages = {}
        for name in dict.fromkeys(stage for frame in counted for stage in frame):
            times = [frame[name] for frame in counted if name in frame]
            p50, p90, p99 = (float(value) for value in np.percentile(times, PERCENTILES))
            stages[name] = StageLatency(p50, p90, p99, float(np.mean(times)))
        return stages

    def to_json(self) -> dict[str, dict[str, float]]:
        """Return {stage: {"p50", "p90", "p99", "mean"}} in [ms]."""
        return {
            name: {key: round(getattr(stage, key), 3) for key in ("p50", "p90", "p99", "mean")}
            for name, stage in self.stages().items()
        }

    def to_markdown(self, machine: Machine, facts: Mapping[str, str]) -> str:
        """Return one page: what was run (`facts`, label -> value), where, and the stages' table [ms]."""
        about = {
            **facts,
            "frames": f"{self.measured} measured, after {self.warm_up} of warm-up",
            "machine": f"{machine.cpu}, {machine.cores} cores ({', '.join(machine.features) or 'no facts'})",
            "system": f"{machine.system}, Python {machine.python}",
        }
        rows = [
            f"| {name} | {stage.p50:.2f} | {stage.p90:.2f} | {stage.p99:.2f} | {stage.mean:.2f} |"
            for name, stage in self.stages().items()
        ]
        lines = [
            "# Latency",
            "",
            *(f"- {label}: {value}" for label, value in about.items()),
            "",
            "| stage | p50 [ms] | p90 [ms] | p99 [ms] | mean [ms] |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
            "`total` is from an image in memory to its results. Frames are read, run and written at the same "
            "time: `wait` is for the frames before, and `write` (drawing, encoding) is outside of `total`.",
        ]
        return "\n".join(lines) + "\n"
