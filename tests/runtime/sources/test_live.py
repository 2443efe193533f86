"""Cameras and streams that stall, end, fail, hang and come back: scripted captures, real threads."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError, SourceError
from argus_edge.runtime.sources import LiveSource, ReopenPolicy, SourceEvent
from argus_edge.runtime.sources.live import MOST_HUNG

Step = NDArray[np.uint8] | Exception | threading.Event

QUICK = ReopenPolicy(timeout=0.5, open_timeout=20, attempts=3, pause=0.0)
IMPATIENT = ReopenPolicy(timeout=0.05, open_timeout=0.3, attempts=2, pause=0.0)


def _picture(value: int, height: int = 4, width: int = 6) -> NDArray[np.uint8]:
    """BGR."""
    return np.full((height, width, 3), (value, 0, 255), np.uint8)


class Scripted:
    """A capture that gives what it was told to: frames, an error, a read that hangs until an event is set."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = iter(steps)
        self.reads = 0
        self.released = threading.Event()

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        self.reads += 1
        step = next(self._steps, None)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, threading.Event):
            step.wait(30)
            return self.read()
        return step is not None, step

    def get(self, property_id: int, /) -> float:
        return 25.0

    def release(self) -> None:
        self.released.set()


class Opener:
    """Opens one script after another; an error among them is raised, an event is waited for."""

    def __init__(self, *scripts: Sequence[Step] | Exception | threading.Event) -> None:
        self._scripts = iter(scripts)
        self.opened: list[Scripted] = []

    def __call__(self) -> Scripted:
        script = next(self._scripts, SourceError("camera: unplugged"))
        if isinstance(script, Exception):
            raise script
        if isinstance(script, threading.Event):
            script.wait(30)
            raise SourceError("camera: opened too late")
        self.opened.append(Scripted(script))
        return self.opened[-1]


@pytest.fixture
def forever() -> Iterator[threading.Event]:
    """What a hung read waits for; set at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def _eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_frames_are_rgb_numbered_and_timed(forever: threading.Event) -> None:
    gate = threading.Event()
    before = time.monotonic()
    opener = Opener([_picture(10), gate, _picture(20), forever])
    with LiveSource("camera", opener) as source:
        assert (source.kind, source.count, source.frame_rate) == ("camera", None, 25.0)
        frames = iter(source)
        first = next(frames)
        gate.set()
        second = next(frames)
        forever.set()
    assert [first.index, second.index, first.name] == [0, 1, "000000"]
    np.testing.assert_array_equal(first.image[0, 0], [255, 0, 10])
    assert first.time == 0.0
    assert before <= first.capture_time <= second.capture_time <= time.monotonic()
    assert second.time == second.capture_time - first.capture_time


def test_only_the_newest_frame_is_kept_and_the_gap_is_seen(forever: threading.Event) -> None:
    opener = Opener([*map(_picture, range(5)), forever])
    with LiveSource("camera", opener) as source:
        _eventually(lambda: opener.opened[0].reads == 6)
        frame = next(iter(source))
        forever.set()
    assert (frame.index, frame.image[0, 0, 2]) == (4, 4)


def test_what_is_lost_is_reported_and_opened_again(forever: threading.Event) -> None:
    """One loss of each kind, with an attempt that fails between."""
    opener = Opener(
        [_picture(0), forever],  # hangs
        [_picture(1)],  # ends
        SourceError("camera: busy"),
        OSError("no bus"),
        [_picture(2), RuntimeError("cable\nand more")],
        [_picture(3), forever],
    )
    events: list[SourceEvent] = []
    with LiveSource("camera", opener, QUICK, events.append) as source:
        frames = iter(source)
        given = [next(frames) for _ in range(4)]
        forever.set()
    assert [frame.image[0, 0, 2] for frame in given] == [0, 1, 2, 3]
    assert [frame.index for frame in given] == [0, 1, 2, 3]
    assert [(event.kind, event.message) for event in events] == [
        ("stalled", "camera: no frame for 0.5 s"),
        ("reopened", "camera: gives frames again"),
        ("ended", "camera: gives no more frames"),
        ("failed", "camera: busy"),
        ("failed", "camera: OSError: no bus"),
        ("reopened", "camera: gives frames again"),
        ("failed", "camera: RuntimeError: cable"),
        ("reopened", "camera: gives frames again"),
    ]
    for capture in opener.opened:
        assert capture.released.wait(10)


def test_attempts_that_are_used_up_are_an_error() -> None:
    events: list[SourceEvent] = []
    source = LiveSource("camera", Opener([_picture(0)]), QUICK, events.append)
    with source, pytest.raises(SourceError, match="camera: unplugged; given up after 3 attempts"):
        list(source)
    assert [event.kind for event in events] == ["ended", "failed", "failed", "failed"]


def test_a_policy_without_attempts_opens_nothing_again() -> None:
    opener = Opener([_picture(0)], [_picture(1)])
    never = ReopenPolicy(attempts=0)
    with LiveSource("camera", opener, never) as source, pytest.raises(SourceError, match="no more frames"):
        list(source)
    assert len(opener.opened) == 1


def test_attempts_count_from_the_last_frame(forever: threading.Event) -> None:
    """A source that comes back each time is opened again more often than the policy's attempts in a row."""
    opener = Opener(*([_picture(number)] for number in range(2 * QUICK.attempts)))  # type: ignore[operator]
    with LiveSource("camera", opener, QUICK, lambda event: None) as source:
        frames = iter(source)
        assert [next(frames).index for _ in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (SourceError("camera 3: cannot be opened"), "camera 3: cannot be opened"),
        ([], "camera: gives no more frames"),
        ([ValueError("driver")], "camera: ValueError: driver"),
        (threading.Event(), "camera: no frame for 0.3 s"),
        ([threading.Event()], "camera: no frame for 0.3 s"),
    ],
    ids=["no device", "no frame", "error", "hung open", "hung read"],
)
def test_what_cannot_be_opened_at_first_is_an_error_at_once(first: Any, told: str) -> None:
    opener = Opener(first, [_picture(0)])
    policy = QUICK if told != "camera: no frame for 0.3 s" else IMPATIENT
    with pytest.raises(SourceError, match=told):
        LiveSource("camera", opener, policy)
    for event in first if isinstance(first, list) else [first]:
        if isinstance(event, threading.Event):
            event.set()


def test_another_size_is_reported_once_and_its_frames_go_on(forever: threading.Event) -> None:
    gates = [threading.Event() for _ in range(2)]
    opener = Opener([_picture(0), gates[0], _picture(1, 8, 10), gates[1], _picture(2, 8, 10), forever])
    events: list[SourceEvent] = []
    with LiveSource("camera", opener, on_event=events.append) as source:
        frames = iter(source)
        shapes = [next(frames).image.shape]
        for gate in gates:
            gate.set()
            shapes.append(next(frames).image.shape)
        forever.set()
    assert shapes == [(4, 6, 3), (8, 10, 3), (8, 10, 3)]
    assert events == [SourceEvent("resized", "camera: frames are 10 x 8 px from now on, not 6 x 4 px")]


def test_without_a_callback_events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    opener = Opener([_picture(0)], [_picture(1)])
    with LiveSource("camera", opener, QUICK) as source:
        frames = iter(source)
        next(frames), next(frames)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "camera: gives no more frames" in caplog.text


def test_an_error_in_the_callback_reaches_who_iterates() -> None:
    def refuse(event: SourceEvent) -> None:
        raise ValueError(event.kind)

    with LiveSource("camera", Opener([_picture(0)]), QUICK, refuse) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(ValueError, match="ended"):
            next(frames)


@pytest.mark.parametrize("image", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint16)])
def test_frames_that_are_not_bgr_are_an_error(image: NDArray[Any], forever: threading.Event) -> None:
    with LiveSource("camera", Opener([image, forever])) as source:
        with pytest.raises(SourceError, match=r"camera: expected frames \(H, W, 3\) of uint8"):
            next(iter(source))
        forever.set()


def test_closing_from_another_thread_ends_the_iteration(forever: threading.Event) -> None:
    source = LiveSource("camera", Opener([_picture(0), forever]), ReopenPolicy(timeout=60))
    given: list[int] = []
    thread = threading.Thread(target=lambda: given.extend(frame.index for frame in source))
    thread.start()
    _eventually(lambda: given == [0])
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    source.close()
    with pytest.raises(SourceError, match="was closed"):
        next(iter(source))


def test_closing_ends_a_pause_between_attempts() -> None:
    policy = ReopenPolicy(pause=3600, longest_pause=3600)
    lost = threading.Event()
    source = LiveSource("camera", Opener([_picture(0)]), policy, lambda event: lost.set())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    assert lost.wait(10)
    source.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_hung_read_does_not_hang_close(forever: threading.Event) -> None:
    opener = Opener([_picture(0), forever])
    source = LiveSource("camera", opener, QUICK)
    source.close()  # would wait 30 s for the read
    assert not opener.opened[0].released.is_set()
    forever.set()
    assert opener.opened[0].released.wait(10)


def test_threads_that_hang_are_few(forever: threading.Event) -> None:
    hung: list[Step] = [_picture(0), forever]
    opener = Opener(*[hung] * 20)
    events: list[SourceEvent] = []
    with LiveSource("camera", opener, IMPATIENT, events.append) as source:
        with pytest.raises(SourceError, match=f"{MOST_HUNG} earlier reads of it still hang; given up"):
            list(source)
        forever.set()
    assert len(opener.opened) == MOST_HUNG


def test_a_source_that_is_forgotten_frees_its_device() -> None:
    gate = threading.Event()
    opener = Opener([_picture(0), gate])
    source = LiveSource("camera", opener)
    gate.set()
    del source
    gc.collect()
    assert opener.opened[0].released.wait(10)


def test_the_interpreter_ends_though_a_read_hangs() -> None:
    code = """
import threading, numpy as np
from argus_edge.runtime.sources import LiveSource
class Hung:
    reads = 0
    def read(self):
        self.reads += 1
        if self.reads > 1:
            threading.Event().wait(60)
        return True, np.zeros((4, 6, 3), np.uint8)
    def get(self, property_id): return 0.0
    def release(self): pass
source = LiveSource("camera", Hung)
print(next(iter(source)).index)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_pauses_grow_up_to_the_longest() -> None:
    policy = ReopenPolicy(attempts=5, pause=1, backoff=3, longest_pause=20)
    assert list(policy.pauses()) == [1, 3, 9, 20, 20]
    assert list(ReopenPolicy(attempts=1, pause=9, longest_pause=2).pauses()) == [2]
    endless = ReopenPolicy(attempts=None).pauses()
    assert [next(endless) for _ in range(2000)][-1] == 30


@pytest.mark.parametrize(
    "setting",
    [
        {"timeout": 0}, {"timeout": float("nan")}, {"open_timeout": float("inf")}, {"open_timeout": -1},
        {"pause": -1}, {"longest_pause": 1e9}, {"backoff": 0.5}, {"backoff": float("inf")}, {"attempts": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_policy_that_cannot_be_waited_for_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected time-outs above 0"):
        ReopenPolicy(**setting)
