"""The scheduler's decisions over random sets of tasks, in simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from argus_edge.errors import InputError
from argus_edge.runtime.simulation import FakeEngine, Run, Stage, Task, simulate

SECONDS = 20.0
fifty = settings(max_examples=50, deadline=None, derandomize=True, database=None)
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Load:
    """Tasks, the most important first, and what they cost, so that they ask for `load` of the device."""

    frame_rate: float
    tasks: tuple[Task, ...]
    service_ms: dict[str, float]
    load: float

    def run(self, streams: int = 1, further: float = 1.0, batches: Sequence[int] = ()) -> Run:
        stages = [Stage("backbone"), *(Stage(task.stage, ("backbone",)) for task in self.tasks)]
        engine = FakeEngine(self.service_ms, spread=0.1, further=further)
        return simulate(
            stages, self.tasks, engine, frame_rate=self.frame_rate, seconds=SECONDS, jitter=0.05,
            streams=streams, batches=batches,
        )  # fmt: skip

    def wanted(self, task: Task) -> float:
        """Turns that a task has in all."""
        return (task.rate or self.frame_rate) * SECONDS

    @property
    def longest(self) -> float:
        """The longest stage, as a share of the time between two frames."""
        return max(self.service_ms.values()) * self.frame_rate / 1e3

    @property
    def of_the_first(self) -> float:
        """Share of the device that the backbone and the first task take alone."""
        first = self.service_ms["backbone"] + self.service_ms[self.tasks[0].stage]
        return first * self.frame_rate / 1e3


@st.composite
def loads(draw: st.DrawFn, load: float, deadline_frames: float = float("inf")) -> Load:
    """Two to six tasks of different priorities; the first runs on every frame."""
    frame_rate = draw(st.floats(10, 60))
    count = draw(st.integers(2, 6))
    rates = [None, *(draw(st.none() | st.floats(0.1 * frame_rate, frame_rate)) for _ in range(count - 1))]
    costs = [draw(st.floats(2, 10)), *(draw(st.floats(1, 10)) for _ in range(count))]
    asked = costs[0] * frame_rate + sum(
        cost * (rate or frame_rate) for cost, rate in zip(costs[1:], rates, strict=True)
    )
    names = ["backbone", *(f"t{index}" for index in range(count))]
    service_ms = {name: cost * load * 1e3 / asked for name, cost in zip(names, costs, strict=True)}
    deadline_ms = deadline_frames * 1e3 / frame_rate
    tasks = tuple(
        Task(name, name, rate, priority=count - index, deadline_ms=deadline_ms)
        for index, (name, rate) in enumerate(zip(names[1:], rates, strict=True))
    )
    return Load(frame_rate, tasks, service_ms, load)


@fifty
@given(loads(load=0.8))
def test_a_second_costs_the_backbone_and_each_decoder_at_its_rate(load: Load) -> None:
    assume(load.longest <= 0.75)
    expected = load.load * SECONDS  # backbone + sum(decoder x rate / frame rate), on every frame
    assert load.run().busy == pytest.approx(expected, rel=0.03)


@few
@given(loads(load=0.9, deadline_frames=4))
def test_nothing_is_late_below_the_device_s_limit(load: Load) -> None:
    assume(load.longest <= 0.75)  # else one stage costs the next frame its turn
    run = load.run()
    for task in load.tasks:
        assert run.missed[task.name] == 0
        assert run.turns[task.name]["late"] == 0
        # Where several turns meet on one frame, one may have to go.
        assert run.turns[task.name]["yielded"] <= 0.06 * load.wanted(task) + 2
        assert run.turns[task.name]["done"] == pytest.approx(load.wanted(task), rel=0.06, abs=3)
    assert run.frames["overflow"] <= 1


@few
@given(loads(load=1.5))
def test_the_most_important_task_keeps_its_rate_under_overload(load: Load) -> None:
    run = load.run()
    if load.of_the_first < 0.8:
        assert run.turns[load.tasks[0].name]["done"] >= 0.99 * load.wanted(load.tasks[0]) - 1
    assert run.busy >= 0.9 * SECONDS or load.of_the_first < 0.8
    # It waits at most for the frame before it, which waits at most for one stage of lower priority.
    longest = 2 * load.of_the_first + 2 + 2 * load.longest
    assert run.worst_age * load.frame_rate <= longest


@few
@given(loads(load=1.3), st.integers(1, 4), st.sampled_from([(), (2, 3)]))
def test_every_frame_and_every_turn_is_accounted_for(
    load: Load, streams: int, batches: tuple[int, ...]
) -> None:
    stages = [Stage("backbone"), *(Stage(task.stage, ("backbone",)) for task in load.tasks)]
    engine = FakeEngine(load.service_ms, spread=0.3, failing={"backbone": 0.05, "t0": 0.2}, further=0.7)
    run = simulate(
        stages, load.tasks, engine, frame_rate=load.frame_rate, seconds=5, streams=streams, jitter=0.3,
        batches=batches,
    )  # fmt: skip
    assert sum(run.frames.values()) == run.offered == streams * int(load.frame_rate * 5)
    assert run.frames["overflow"] + sum(ends["yielded"] for ends in run.turns.values()) > 0
    for task in load.tasks:
        assert sum(run.turns[task.name].values()) == run.offered
        assert run.turns[task.name]["pending"] == 0
    assert run.turns["t0"]["failed"] > 0


@few
@given(loads(load=1.5), st.integers(2, 4), st.floats(0.1, 0.6))
def test_what_runs_at_once_gives_more_frames_to_every_camera(
    load: Load, streams: int, further: float
) -> None:
    one, several = (
        load.run(streams=streams, further=further, batches=batches) for batches in ((), range(2, streams + 1))
    )
    for run in (one, several):
        assert sum(run.frames.values()) == run.offered
        assert all(ends["pending"] == 0 for ends in map(dict, run.turns.values()))
    # No camera starves, and each has its share of what all gain.
    assert min(several.done) >= 0.8 * max(several.done) - 2
    assert min(several.done) >= 0.98 * min(one.done) - 2
    first = load.tasks[0].name
    assert several.turns[first]["done"] >= 1.15 * one.turns[first]["done"] or (
        several.turns[first]["done"] >= 0.97 * several.offered
    )


@few
@given(loads(load=0.75, deadline_frames=4), st.floats(0.1, 1.3))
def test_what_runs_at_once_keeps_priorities_and_deadlines(load: Load, further: float) -> None:
    """Two cameras, which together ask for 1.5 of the device where nothing is gained."""
    run = load.run(streams=2, further=further, batches=(2,))
    first = load.tasks[0]
    if 2 * load.of_the_first < 0.8:
        assert run.turns[first.name]["done"] >= 0.99 * 2 * load.wanted(first) - 2
    for task in load.tasks:
        assert run.missed[task.name] <= 0.01 * run.turns[task.name]["done"] + 1


def test_equal_rates_fall_on_different_frames() -> None:
    tasks = [Task(f"t{index}", f"t{index}", rate=10.0) for index in range(3)]
    stages = [Stage("backbone"), *(Stage(task.stage, ("backbone",)) for task in tasks)]
    service_ms = {"backbone": 10.0, **{task.stage: 15.0 for task in tasks}}
    run = simulate(stages, tasks, FakeEngine(service_ms), frame_rate=30, seconds=SECONDS)
    # Together they would take 55 ms of the 33 ms between two frames; one at a time, 25.
    assert run.frames["overflow"] <= 2
    assert run.worst_age <= 0.060
    assert [run.turns[task.name]["done"] for task in tasks] == pytest.approx([200] * 3, abs=2)


def test_a_stage_of_two_tasks_runs_once() -> None:
    stages = [Stage("backbone"), Stage("inst", ("backbone",)), Stage("pose", ("backbone", "inst"))]
    tasks = [Task("det", "inst"), Task("inst", "inst", rate=5), Task("pose", "pose", rate=2.5)]
    service_ms = {"backbone": 5.0, "inst": 5.0, "pose": 5.0}
    run = simulate(stages, tasks, FakeEngine(service_ms), frame_rate=20, seconds=10)
    assert run.stage_runs == {"backbone": 200, "inst": 200, "pose": pytest.approx(25, abs=1)}


@pytest.mark.parametrize("task", [Task("t", "none"), Task("t", "s", rate=0), Task("t", "s", deadline_ms=0)])
def test_what_cannot_be_scheduled_is_refused(task: Task) -> None:
    with pytest.raises(InputError, match="'t'"):
        simulate([Stage("s")], [task], FakeEngine({"s": 1.0}), frame_rate=10, seconds=1)
