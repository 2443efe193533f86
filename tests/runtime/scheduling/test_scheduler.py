"""The scheduler itself, event by event."""

from __future__ import annotations

import math

import pytest

from argus_edge.runtime import _native
from argus_edge.runtime._native import FrameEnd, Overflow, TaskEnd
from argus_edge.runtime.schedule import Stage, Task, native_specs


def scheduler(*tasks: Task) -> _native.Scheduler:
    names = list(dict.fromkeys(task.stage for task in tasks))
    return _native.Scheduler(
        *native_specs([Stage("backbone"), *(Stage(name, ("backbone",)) for name in names)], tasks)
    )


def run_all(what: _native.Scheduler, now: float, seconds: float = 0.001) -> list[tuple[int, int]]:
    """Run whatever is due, one after the other; (frame, stage) of each run."""
    ran = []
    while (job := what.next(now)) is not None:
        ran += [(frame, job.stage) for frame in job.frames]
        now += seconds
        what.finished(now, True)
    return ran


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"), [(Overflow.LATEST, [3], [1, 2]), (Overflow.OLDEST, [1], [2, 3])]
)
def test_a_full_queue_drops_the_one_or_the_other(
    overflow: Overflow, kept: list[int], dropped: list[int]
) -> None:
    what = scheduler(Task("a", "a"))
    stream = what.open_stream(1, overflow)
    assert [what.offer(stream, now, now) for now in (0.0, 0.1, 0.2)] == [1, 2, 3]
    ended = what.take_ended()
    assert [(report.id, report.end) for report in ended] == [(id_, FrameEnd.OVERFLOW) for id_ in dropped]
    assert {frame for frame, _ in run_all(what, 0.3)} == set(kept)


def test_who_waits_is_told_to() -> None:
    what = scheduler(Task("a", "a"))
    stream = what.open_stream(2, Overflow.WAIT)
    assert [what.offer(stream, 0.0, 0.0) for _ in range(3)] == [1, 2, None]
    job = what.next(0.0)
    assert job is not None
    assert (job.frames, job.stage) == ([1], 0)
    assert what.offer(stream, 0.0, 0.0) == 3


def test_the_important_task_runs_first_and_one_job_at_a_time() -> None:
    what = scheduler(Task("a", "a"), Task("b", "b", priority=2), Task("c", "c", priority=1))
    stream = what.open_stream(1, Overflow.LATEST)
    what.offer(stream, 0.0, 0.0)
    job = what.next(0.0)
    assert job is not None
    assert what.next(0.0) is None  # that one is not finished
    what.finished(0.001, True)
    assert [stage for _, stage in run_all(what, 0.001)] == [2, 3, 1]
    what.set_priority(0, 3)
    what.offer(stream, 0.1, 0.1)
    assert [stage for _, stage in run_all(what, 0.1)] == [0, 1, 2, 3]


def test_what_cannot_be_in_time_is_skipped() -> None:
    what = scheduler(Task("slow", "slow", deadline_ms=50), Task("quick", "quick", deadline_ms=50))
    for stage, seconds in enumerate((0.02, 0.04, 0.01)):
        what.learn(stage, seconds)
    stream = what.open_stream(1, Overflow.LATEST)
    what.offer(stream, 0.0, 0.0)
    assert [stage for _, stage in run_all(what, 0.0, 0.02)] == [0, 2]
    (report,) = what.take_ended()
    assert report.tasks == [TaskEnd.LATE, TaskEnd.DONE]
    assert report.end is FrameEnd.DONE
    assert report.seconds == pytest.approx([0.02, 0.0, 0.02])
    what.offer(stream, 0.1, 0.2)  # too late for both, before the backbone
    assert run_all(what, 0.2) == []
    assert [report.end for report in what.take_ended()] == [FrameEnd.SKIPPED]


def test_a_skipped_task_is_tried_again_some_day() -> None:
    what = scheduler(Task("a", "a", deadline_ms=50))
    what.learn(0, 0.01)
    what.learn(1, 0.08)  # a hiccup, or slower clocks, at the very start
    stream = what.open_stream(1, Overflow.LATEST)
    for frame in range(2000):
        what.offer(stream, frame * 0.1, frame * 0.1)
        if run_all(what, frame * 0.1):
            break
    assert 100 < frame < 1999


def test_a_missed_deadline_is_counted_though_the_turn_is_done() -> None:
    what = scheduler(Task("a", "a", deadline_ms=50))
    what.offer(what.open_stream(1, Overflow.LATEST), 0.0, 0.0)
    run_all(what, 0.0, 0.04)  # nothing is known of the costs yet
    assert what.missed(0) == 1


def test_a_failed_stage_costs_what_needs_it() -> None:
    stages = [Stage("backbone"), Stage("det", ("backbone",)), Stage("pose", ("backbone", "det"))]
    tasks = [Task("det", "det", priority=1), Task("pose", "pose")]
    what = _native.Scheduler(*native_specs(stages, tasks))
    stream = what.open_stream(1, Overflow.LATEST)
    for failing, ends in ((1, [TaskEnd.FAILED] * 2), (2, [TaskEnd.DONE, TaskEnd.FAILED])):
        what.offer(stream, 0.0, 0.0)
        while (job := what.next(0.0)) is not None:
            what.finished(0.0, job.stage != failing)
        (report,) = what.take_ended()
        assert report.tasks == ends
    assert what.frame_counts()[list(FrameEnd).index(FrameEnd.FAILED)] == 1


def test_streams_take_turns_by_capture() -> None:
    what = scheduler(Task("a", "a", rate=5.0))
    one, other = what.open_stream(1, Overflow.LATEST), what.open_stream(1, Overflow.LATEST)
    what.offer(one, 0.05, 0.06)
    what.offer(other, 0.0, 0.07)
    assert [frame for frame, stage in run_all(what, 0.1) if stage == 0] == [2, 1]  # due in each


def test_rates_change_while_frames_come() -> None:
    what = scheduler(Task("a", "a", rate=1.0))
    stream = what.open_stream(1, Overflow.LATEST)

    def turns(first: int, last: int) -> int:
        return sum(
            any(stage == 1 for _, stage in run_all(what, frame / 10))
            for frame in range(first, last)
            if what.offer(stream, frame / 10, frame / 10)
        )

    assert turns(0, 100) == pytest.approx(10, abs=1)
    what.set_rate(0, 5.0)
    assert turns(100, 200) == pytest.approx(50, abs=2)
    what.set_rate(0, 0.0)
    assert turns(200, 300) == 100
    what.set_enabled(0, False)
    assert turns(300, 310) == 0
    what.set_enabled(0, True)
    assert turns(310, 320) == 10


def test_the_machine_is_kept_warm() -> None:
    what = scheduler(Task("a", "a"))
    what.set_keep_warm(0.5)
    what.offer(what.open_stream(1, Overflow.LATEST), 1.0, 1.0)
    run_all(what, 1.0, 0.1)
    assert what.next(1.5) is None
    assert what.wake_at() == pytest.approx(1.7)
    job = what.next(1.8)
    assert job is not None
    assert (job.frames, job.stage) == ([], 0)
    what.finished(1.9, True)
    assert what.next(1.9) is None
    assert what.wake_at() == pytest.approx(2.4)


def test_closing_ends_every_frame() -> None:
    what = scheduler(Task("a", "a"))
    assert what.wake_at() == math.inf
    one, other = what.open_stream(1, Overflow.LATEST), what.open_stream(2, Overflow.WAIT)
    for stream in (one, other, other):
        what.offer(stream, 0.0, 0.0)
    assert what.next(0.0) is not None
    what.close_stream(other, 0.1)
    what.close(0.2)
    what.finished(0.3, True)  # the job that ran is reported all the same
    assert what.next(0.4) is None
    assert [report.end for report in what.take_ended()] == [FrameEnd.CLOSED] * 3
    assert sum(what.frame_counts()) == what.offered() == 3
