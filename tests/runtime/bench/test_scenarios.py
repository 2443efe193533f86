"""Scenarios in simulated time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from argus_edge.runtime.bench.scenarios import QUERY, SystemClock, run_block


class Simulated:
    """A clock that moves when somebody sleeps or a frame is run."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.seconds += seconds

    def runs(self, *services: float) -> Callable[[], Mapping[str, float]]:
        """Frames that take `services` [s], one after the other, again and again."""
        number = -1

        def run() -> Mapping[str, float]:
            nonlocal number
            number += 1
            service = services[number % len(services)]
            self.seconds += service
            return {"total": 1e3 * service}

        return run


def test_single_stream_asks_for_one_after_another() -> None:
    clock = Simulated()
    block = run_block("SingleStream", clock.runs(0.1, 0.3), 1.0, 30, clock)
    assert block.latencies == pytest.approx([100, 300, 100, 300, 100, 300])
    assert block.frames == 6
    assert block.seconds == pytest.approx(1.2)


def test_multi_stream_asks_for_eight_at_once() -> None:
    clock = Simulated()
    block = run_block("MultiStream", clock.runs(0.05), 1.0, 30, clock)
    assert block.latencies == pytest.approx([400, 400, 400])
    assert block.frames == 3 * QUERY


def test_offline_is_one_query() -> None:
    clock = Simulated()
    block = run_block("Offline", clock.runs(0.25), 1.0, 30, clock)
    assert block.latencies == pytest.approx([1000])
    assert block.frames == 4


def test_slow_frames_still_make_a_block() -> None:
    clock = Simulated()
    assert run_block("SingleStream", clock.runs(9.0), 0.1, 30, clock).frames == 1


def test_camera_waits_for_frames_that_come_in_time() -> None:
    clock = Simulated()
    block = run_block("camera", clock.runs(0.05), 1.0, 10, clock)
    assert (block.frames, block.dropped) == (10, 0)
    assert block.ages == pytest.approx([50.0] * 10)
    assert [shot.captured for shot in block.shots] == pytest.approx([100.0 * i for i in range(10)])


def test_camera_drops_what_the_runtime_is_too_busy_for() -> None:
    """Frames every 100 ms, 250 ms each, the first of them uncounted: at 250 ms the newest is that of 200 ms,
    at 500 ms that of 500 ms.
    """
    clock = Simulated()
    block = run_block("camera", clock.runs(0.25), 1.0, 10, clock)
    assert [shot.captured for shot in block.shots] == pytest.approx([0, 300, 500, 800])
    assert [shot.begun for shot in block.shots] == pytest.approx([50, 300, 550, 800])
    assert block.ages == pytest.approx([300, 250, 300, 250])
    assert block.latencies == pytest.approx([250] * 4)
    assert (block.frames, block.dropped) == (4, 6)


def test_camera_counts_those_after_its_last_frame() -> None:
    clock = Simulated()
    block = run_block("camera", clock.runs(5.0), 1.0, 10, clock)
    assert (block.frames, block.dropped) == (1, 9)


def test_camera_on_the_machines_clock() -> None:
    clock = SystemClock()
    block = run_block("camera", lambda: {"total": 0.0}, 0.1, 100, clock)
    assert block.frames + block.dropped == 10
    assert all(age >= 0 for age in block.ages)
