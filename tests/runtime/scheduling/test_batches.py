"""Frames of several streams at once: who goes with whom, and what runs together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from argus_edge.runtime import _native
from argus_edge.runtime._native import FrameEnd, Overflow, TaskEnd
from argus_edge.runtime.schedule import Stage, Task, native_specs

BACKBONE, A, B = 0, 1, 2  # stages


def scheduler(
    *tasks: Task, batches: Sequence[int] = (2, 3), ms: Sequence[float] = (20, 10, 10), further: float = 0.5
) -> _native.Scheduler:
    """Of a backbone and the stages a and b, of known costs; each further frame at once costs `further`."""
    stages = [Stage("backbone"), Stage("a", ("backbone",)), Stage("b", ("backbone",))]
    what = _native.Scheduler(*native_specs(stages, tasks), batches)
    for stage, each in enumerate(ms):
        for frames in (1, *batches):
            for _ in range(10):  # fewer prove nothing
                what.learn(stage, each / 1e3 * (1 + further * (frames - 1)), frames)
    return what


def streams(what: _native.Scheduler, count: int, overflow: Overflow = Overflow.LATEST) -> list[int]:
    return [what.open_stream(2, overflow) for _ in range(count)]


def run_all(what: _native.Scheduler, now: float, failing: Sequence[int] = ()) -> list[tuple[int, list[int]]]:
    """Run whatever is due, as long as it is known to take; (stage, frames) of each run."""
    ran = []
    while (job := what.next(now)) is not None:
        ran.append((job.stage, job.frames))
        now += what.cost(job.stage, len(job.frames))[0]
        what.finished(now, job.stage not in failing)
    return ran


def test_frames_of_several_streams_run_at_once() -> None:
    what = scheduler(Task("a", "a"))
    for stream in streams(what, 3):
        what.offer(stream, 0.0, 0.0)
    assert run_all(what, 0.0) == [(BACKBONE, [1, 2, 3]), (A, [1, 2, 3])]
    reports = what.take_ended()
    assert [report.seconds for report in reports] == [pytest.approx([0.04, 0.02, 0.0])] * 3
    assert {report.end for report in reports} == {FrameEnd.DONE}


def test_as_many_as_there_are_graphs_for_the_first_captured_first() -> None:
    what = scheduler(Task("a", "a"), batches=(2, 4))
    for stream, captured in zip(streams(what, 3), (0.02, 0.0, 0.01), strict=True):
        what.offer(stream, captured, 0.02)
    assert [frames for stage, frames in run_all(what, 0.02) if stage == BACKBONE] == [[2, 3], [1]]


def test_a_lone_frame_goes_at_once_and_a_stream_has_one_among_them() -> None:
    what = scheduler(Task("a", "a"))
    one, other = streams(what, 2)
    what.offer(one, 0.0, 0.0)
    first = what.next(0.0)
    assert first is not None
    assert first.frames == [1]
    for stream in (one, one, other):
        what.offer(stream, 0.01, 0.01)
    what.finished(0.02, True)
    assert [frames for stage, frames in run_all(what, 0.02) if stage == BACKBONE] == [[2, 4], [3]]


def test_a_decoder_runs_on_the_frames_that_want_it() -> None:
    what = scheduler(Task("a", "a", priority=1), Task("b", "b", rate=1.0))
    opened = streams(what, 3)
    what.offer(opened[1], 0.0, 0.0)
    run_all(what, 0.0)  # it takes its turn of b there, and has none on the next frame
    for stream in opened:
        what.offer(stream, 0.1, 0.1)
    ran = run_all(what, 0.1)
    assert ran == [(BACKBONE, [2, 3, 4]), (A, [2, 3, 4]), (B, [2]), (B, [4])]
    what.take_ended()
    for stream in opened:
        what.offer(stream, 0.2, 0.2)
    what.set_rate(1, 0.0)
    what.set_priority(1, 2)
    assert run_all(what, 0.2) == [(BACKBONE, [5, 6, 7]), (B, [5, 6, 7]), (A, [5, 6, 7])]


def test_neighbours_run_at_once_in_their_places() -> None:
    what = scheduler(Task("a", "a", priority=1), Task("b", "b", rate=1.0))
    opened = streams(what, 3)
    what.offer(opened[0], 0.0, 0.0)
    run_all(what, 0.0)
    for stream in opened:
        what.offer(stream, 0.1, 0.1)
    jobs = []
    while (job := what.next(0.1)) is not None:
        jobs.append((job.stage, job.frames, job.first))
        what.finished(0.1, True)
    assert jobs == [(BACKBONE, [2, 3, 4], 0), (A, [2, 3, 4], 0), (B, [3, 4], 1)]


def test_a_frame_is_told_as_soon_as_nothing_of_it_is_left() -> None:
    what = scheduler(Task("a", "a", priority=1), Task("b", "b", rate=1.0))
    opened = streams(what, 2)
    what.offer(opened[0], 0.0, 0.0)
    run_all(what, 0.0)
    what.take_ended()
    for stream in opened:
        what.offer(stream, 0.1, 0.1)
    for _ in range(2):  # backbone, a
        assert what.next(0.1) is not None
        what.finished(0.1, True)
    assert what.next(0.1) is not None  # b of the other
    assert [report.id for report in what.take_ended()] == [2]


@pytest.mark.parametrize(("deadline_ms", "together"), [(40, [1]), (44, [1]), (46, [1, 2])])
def test_nobody_is_taken_along_at_the_cost_of_a_deadline(deadline_ms: float, together: list[int]) -> None:
    what = scheduler(Task("a", "a", deadline_ms=deadline_ms))  # alone 30 ms, two at once 45
    for stream in streams(what, 2):
        what.offer(stream, 0.0, 0.0)
    job = what.next(0.0)
    assert job is not None
    assert job.frames == together


def test_who_is_late_anyhow_holds_nobody_up() -> None:
    what = scheduler(Task("a", "a", deadline_ms=50), Task("b", "b"))
    opened = streams(what, 2)
    what.offer(opened[0], 0.0, 0.1)
    what.offer(opened[1], 0.1, 0.1)
    assert run_all(what, 0.1) == [(BACKBONE, [1, 2]), (A, [2]), (B, [1, 2])]
    assert [report.tasks for report in what.take_ended()] == [
        [TaskEnd.LATE, TaskEnd.DONE],
        [TaskEnd.DONE, TaskEnd.DONE],
    ]


@pytest.mark.parametrize(("further", "together"), [(0.1, [43, 44]), (0.5, [43])])
def test_nobody_is_taken_along_at_the_cost_of_a_more_important_turn(
    further: float, together: list[int]
) -> None:
    """Task a has every second frame, and 5 ms to begin it; b, on a frame between, must be done by then."""
    tasks = Task("a", "a", rate=5.0, priority=1, deadline_ms=35), Task("b", "b")
    what = scheduler(*tasks, ms=(20, 10, 10), further=further)
    opened = streams(what, 2)
    for frame in range(22):
        for stream in opened:
            what.offer(stream, frame * 0.1, frame * 0.1)
        if frame < 21:
            run_all(what, frame * 0.1)
    job = what.next(2.17)  # the next turn of a comes at 2.2
    assert job is not None
    assert job.frames == together


@pytest.mark.parametrize("failing", [BACKBONE, A])
def test_a_run_that_fails_costs_each_of_its_frames(failing: int) -> None:
    what = scheduler(Task("a", "a", priority=1), Task("b", "b"))
    for stream in streams(what, 2):
        what.offer(stream, 0.0, 0.0)
    run_all(what, 0.0, failing=[failing])
    b = TaskEnd.FAILED if failing == BACKBONE else TaskEnd.DONE
    assert [report.tasks for report in what.take_ended()] == [[TaskEnd.FAILED, b]] * 2


def test_what_does_not_pay_runs_one_by_one_and_is_tried_again() -> None:
    what = scheduler(Task("a", "a"), further=1.2)
    sizes = []
    for turn in range(1500):
        for stream in streams(what, 2) if turn == 0 else (1, 2):
            what.offer(stream, turn * 0.1, turn * 0.1)
        sizes += [len(frames) for stage, frames in run_all(what, turn * 0.1) if stage == BACKBONE]
    assert 1 <= sizes.count(2) <= 10
    assert sizes[:100] == [1] * 100


def test_costs_are_learnt_for_each_number_of_frames() -> None:
    what = scheduler(Task("a", "a"))
    assert what.cost(BACKBONE)[0] == pytest.approx(0.02)
    assert what.cost(BACKBONE, 3)[0] == pytest.approx(0.04)
    for stream in streams(what, 3):
        what.offer(stream, 0.0, 0.0)
    what.next(0.0)
    what.finished(0.05, True)
    assert what.cost(BACKBONE, 3)[0] > 0.0401
    assert what.cost(BACKBONE)[0] == pytest.approx(0.02)


def test_closing_ends_every_frame_at_work() -> None:
    what = scheduler(Task("a", "a"))
    opened = streams(what, 3)
    for stream in opened:
        what.offer(stream, 0.0, 0.0)
    what.next(0.0)
    what.close_stream(opened[0], 0.0)  # what runs is finished
    assert what.take_ended() == []
    what.close(0.1)
    what.finished(0.2, True)
    assert what.next(0.3) is None
    assert [report.end for report in what.take_ended()] == [FrameEnd.CLOSED] * 3
    assert sum(what.frame_counts()) == what.offered() == 3
