"""The four ways in which frames are asked for, each for a while.

    SingleStream   a frame when the one before is done; judged by p90
    MultiStream    eight frames at once when the eight before are done; judged by p99
    Offline        all frames at once; judged by frames per second
    camera         a frame every period; while the runtime is busy newer ones replace older, which are counted

The first three are MLPerf Inference's, the last is its former MultiStream (until version 1.1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, get_args

__all__ = ["HEADLINE", "SCENARIOS", "Block", "Clock", "Scenario", "Shot", "SystemClock", "run_block"]

Scenario = Literal["SingleStream", "MultiStream", "Offline", "camera"]
SCENARIOS: Final[tuple[Scenario, ...]] = get_args(Scenario)
HEADLINE: Final[Mapping[str, str]] = {"SingleStream": "p90", "MultiStream": "p99", "camera": "p99"}
"""The percentile a scenario is judged by; Offline has none."""
QUERY: Final = 8  # frames of a query of MultiStream

Timings = Mapping[str, float]  # stage -> [ms], as Frame.timings


class Clock(Protocol):
    """Time, and waiting: real, or simulated in a test."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame on the time line of a block."""

    captured: float  # [ms] since the first one was
    begun: float
    stages: Timings


@dataclass(slots=True)
class Block:
    """What came of a scenario in one stretch of time."""

    latencies: list[float] = field(default_factory=list)  # of the queries [ms]
    frames: int = 0
    seconds: float = 0.0
    dropped: int = 0  # frames of the camera that nobody looked at
    ages: list[float] = field(default_factory=list)  # of the camera's frames when their results came [ms]
    shots: list[Shot] = field(default_factory=list)  # of the camera
    stages: list[Timings] = field(default_factory=list)  # of every frame

    def to_json(self) -> dict[str, Any]:
        """All but what is summed up elsewhere: the stages and the time line."""
        return {
            "latency_ms": [round(value, 4) for value in self.latencies],
            "age_ms": [round(value, 4) for value in self.ages],
            "frames": self.frames,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 6),
        }


def run_block(
    scenario: Scenario, run: Callable[[], Timings], seconds: float, rate: float, clock: Clock
) -> Block:
    """Ask for frames for about `seconds`, at least for one query.

    `run` takes the next frame through the runtime; `rate` is the camera's [frames/s].
    """
    block, start = Block(), clock.now()
    if scenario == "camera":
        _camera(block, run, seconds, rate, clock)
    elif scenario == "Offline":
        while not block.frames or clock.now() - start < seconds:
            _take(block, run)
        block.latencies.append(1e3 * (clock.now() - start))
    else:
        while not block.latencies or clock.now() - start < seconds:
            begun = clock.now()
            for _ in range(QUERY if scenario == "MultiStream" else 1):
                _take(block, run)
            block.latencies.append(1e3 * (clock.now() - begun))
    block.seconds = clock.now() - start
    return block


def _take(block: Block, run: Callable[[], Timings]) -> None:
    block.stages.append(run())
    block.frames += 1


def _camera(block: Block, run: Callable[[], Timings], seconds: float, rate: float, clock: Clock) -> None:
    """The newest frame is taken when the runtime is free; those before it are dropped."""
    start = clock.now()
    run()  # not counted: the frames that are find the runtime as busy as it is in the long run

    def newest() -> int:
        return math.floor((clock.now() - start) * rate + 1e-9)

    first = tick = max(1, newest())
    offered = max(1, math.ceil(seconds * rate - 1e-9))
    origin = start + first / rate
    while tick < first + offered:
        captured = start + tick / rate
        if (wait := captured - clock.now()) > 0:
            clock.sleep(wait)
        begun = clock.now()
        _take(block, run)
        done = clock.now()
        block.latencies.append(1e3 * (done - begun))
        block.ages.append(1e3 * (done - captured))
        block.shots.append(Shot(1e3 * (captured - origin), 1e3 * (begun - origin), block.stages[-1]))
        tick = max(tick + 1, newest())
    block.dropped = offered - block.frames
