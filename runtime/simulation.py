"""The scheduler in simulated time: what a set of tasks and rates would do to a device of given speed.

    service = {"backbone": 20.0, "det": 6.0, "seg": 9.0}  # [ms]
    run = simulate(
        [Stage("backbone"), Stage("det", ("backbone",)), Stage("seg", ("backbone",))],
        [Task("det", "det", priority=1), Task("seg", "seg", rate=10)],
        FakeEngine(service),
        frame_rate=30,
        seconds=60,
    )
    run.busy, run.turns["seg"]["done"], run.worst_age

The decisions are those of the compiled scheduler that a `Runtime` uses; only the clock and the engine are
replaced, so an hour takes a second or two.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from argus_edge.runtime import _native
from argus_edge.runtime.schedule import Overflow, Stage, Task, counted, native_overflow, native_specs

__all__ = ["FakeEngine", "Run", "Stage", "Task", "simulate"]


class FakeEngine:
    """Takes the time that it is told to, in simulated time, and computes nothing.

    Args:
        service_ms: stage -> how long a run on one frame takes [ms].
        further: what each further frame of a run on several at once takes, as a share of the first.
        spread: standard deviation of the logarithm of a run's time; 0 makes all runs alike.
        failing: stage -> share of its runs that fail, 0 to 1.
        seed: of the random numbers.
    """

    def __init__(
        self,
        service_ms: Mapping[str, float],
        spread: float = 0.0,
        failing: Mapping[str, float] | None = None,
        seed: int = 0,
        further: float = 1.0,
    ) -> None:
        self.service_ms: Final = dict(service_ms)
        self.further: Final = further
        self.spread: Final = spread
        self.failing: Final = dict(failing or {})
        self._random = np.random.default_rng(seed)

    def usual(self, stage: str, frames: int = 1) -> float:
        """How long a run on so many frames at once takes on average [s]."""
        return self.service_ms[stage] / 1e3 * (1 + self.further * (frames - 1))

    def run(self, stage: str, frames: int = 1) -> tuple[float, bool]:
        """How long this run takes [s], and whether it succeeds."""
        seconds = self.usual(stage, frames)
        if self.spread:  # the mean stays what was asked for
            seconds *= float(np.exp(self._random.normal(-(self.spread**2) / 2, self.spread)))
        return seconds, self._random.random() >= self.failing.get(stage, 0.0)


@dataclass(frozen=True)
class Run:
    """What came of a simulation.

    Attributes:
        busy: time that stages ran [s].
        seconds: time simulated [s].
        frames: how many frames ended in which way, "done", "idle", "overflow" and so on.
        turns: task -> how many of its turns ended in which way, "done", "late", "yielded", "failed";
            "not_due" counts frames on which it had none.
        missed: task -> turns that were done, but later than its deadline.
        offered: frames that came.
        worst_age: longest time from a frame's capture to its end, of those that were done [s].
        done: frames that were done, of each stream.
        stage_runs: stage -> how often it ran, on one frame or on several at once.
    """

    busy: float
    seconds: float
    frames: Mapping[str, int]
    turns: Mapping[str, Mapping[str, int]]
    missed: Mapping[str, int]
    offered: int
    worst_age: float
    done: tuple[int, ...]
    stage_runs: Mapping[str, int]


def simulate(
    stages: Sequence[Stage],
    tasks: Sequence[Task],
    engine: FakeEngine,
    *,
    frame_rate: float,
    seconds: float,
    streams: int = 1,
    overflow: Overflow = "latest",
    jitter: float = 0.0,
    seed: int = 0,
    batches: Sequence[int] = (),
) -> Run:
    """Feed `streams` cameras of `frame_rate` [frames/s] to one device for `seconds`.

    `jitter` is the standard deviation of a frame's arrival, as a share of the time between two frames;
    `batches` how many frames, more than one, the engine can run at once.
    Raises InputError for a stage or task that names something unknown.
    """
    scheduler = _native.Scheduler(*native_specs(stages, tasks), batches)
    for index, stage in enumerate(stages):
        for frames in (1, *batches):
            scheduler.learn(index, engine.usual(stage.name, frames), frames)
    opened = [scheduler.open_stream(1, native_overflow(overflow)) for _ in range(streams)]
    coming = deque(_arrivals(opened, frame_rate, seconds, jitter, seed))
    done = dict.fromkeys(opened, 0)
    held: list[tuple[float, int]] = []  # came, but found no room
    runs = dict.fromkeys((stage.name for stage in stages), 0)
    busy, worst_age, free_at, succeeds = 0.0, 0.0, math.inf, True
    while coming or free_at < math.inf:
        now = min(coming[0][0] if coming else math.inf, free_at)
        if now == free_at:
            scheduler.finished(now, succeeds)
            free_at = math.inf
        while coming and coming[0][0] <= now:
            held.append(coming.popleft())
        job = scheduler.next(now) if free_at == math.inf else None
        held = [(time, stream) for time, stream in held if scheduler.offer(stream, time, now) is None]
        if job is None and free_at == math.inf:
            job = scheduler.next(now)
        if job is not None:
            name = stages[job.stage].name
            duration, succeeds = engine.run(name, len(job.frames))
            free_at, busy = now + duration, busy + duration
            runs[name] += 1
        for report in scheduler.take_ended():
            if report.end is _native.FrameEnd.DONE:
                worst_age = max(worst_age, report.ended - report.captured)
                done[report.stream] += 1
    return Run(
        busy=busy,
        seconds=seconds,
        frames=counted(_native.FrameEnd, scheduler.frame_counts()),
        turns={
            task.name: counted(_native.TaskEnd, scheduler.task_counts(index))
            for index, task in enumerate(tasks)
        },
        missed={task.name: scheduler.missed(index) for index, task in enumerate(tasks)},
        offered=scheduler.offered(),
        worst_age=worst_age,
        done=tuple(done.values()),
        stage_runs=runs,
    )


def _arrivals(
    streams: Sequence[int], frame_rate: float, seconds: float, jitter: float, seed: int
) -> list[tuple[float, int]]:
    """When a frame comes [s], and of which stream; in order. Cameras do not start together."""
    random = np.random.default_rng(seed)
    frames = int(frame_rate * seconds)
    arrivals = []
    for place, stream in enumerate(streams):
        times = (np.arange(frames) + place / len(streams)) / frame_rate
        times += np.abs(random.normal(0.0, jitter, frames)) / frame_rate
        arrivals += [(float(time), stream) for time in np.maximum.accumulate(times)]
    return sorted(arrivals)
