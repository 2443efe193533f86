"""Cameras and streams: read in a thread of their own, reported and opened again when they are lost.

OpenCV's read waits as long as it likes, so nobody here waits for it: the reader's thread keeps its newest
frame, and whoever wants one waits for that, with a time-out. A thread that hangs in a read is told to end,
left behind, and ends when the read does; it keeps neither `close` nor the interpreter from ending.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from numpy.typing import NDArray

from argus_edge.errors import InputError, SourceError, first_line
from argus_edge.runtime.sources.captures import Capture, OpenCapture, frame_rate, to_rgb
from argus_edge.runtime.sources.frame import Closing, SourceFrame

CLOSE_WAIT: Final = 2.0  # for a read to end before its thread is left behind, or the policy's time-out [s]
DAY: Final = 86400.0  # [s]
READER: Final = "reader of"  # what the threads that read are called, before the source's name
MOST_HUNG: Final = 4  # threads left behind that still hang; no attempt starts another one

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReopenPolicy:
    """When a camera or stream counts as lost, and how it is opened again.

    timeout: without a frame for so long it has stalled [s].
    open_timeout: the same for opening it, up to its first frame [s].
    attempts: to open it again, one after another without a frame, before SourceError is raised; None: no end.
    pause: before the first of them [s].
    backoff: each further pause is so many times as long ...
    longest_pause: ... up to this [s].

    Raises InputError for what cannot be waited for.
    """

    timeout: float = 5.0
    open_timeout: float = 15.0
    attempts: int | None = 10
    pause: float = 0.5
    backoff: float = 2.0
    longest_pause: float = 30.0

    def __post_init__(self) -> None:
        waits = self.timeout > 0 and self.open_timeout > 0 and self.pause >= 0 and self.longest_pause >= 0
        longest = max(self.timeout, self.open_timeout, self.pause, self.longest_pause)
        attempts = self.attempts is None or self.attempts >= 0
        if not (waits and longest <= DAY and attempts and 1 <= self.backoff < math.inf):
            raise InputError(
                "expected time-outs above 0, pauses from 0, none of them beyond a day, attempts from 0 and a "
                f"backoff from 1, got {self}"
            )

    def pauses(self) -> Iterator[float]:
        """The pause before each attempt [s]."""
        pause, attempt = self.pause, 0
        while self.attempts is None or attempt < self.attempts:
            yield min(pause, self.longest_pause)
            pause, attempt = min(pause * self.backoff, self.longest_pause), attempt + 1


DEFAULT_POLICY: Final = ReopenPolicy()


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """What has happened to a live source.

    kind: "stalled": no frame within the time-out; "ended": it says that there are no more; "failed": it could
        not be opened, or reading raised an error; "reopened": frames come again; "resized": they have
        another size from now on, and go on.
    message: one line with the source's name and the cause.
    """

    kind: Literal["stalled", "ended", "failed", "reopened", "resized"]
    message: str


class LiveSource(Closing):
    """A camera or stream. Gives its newest frame; older ones that nobody took are passed over.

    Args:
        name: of the source, for messages.
        open_capture: opens it; called again, each time in a new thread, whenever it was lost.
        policy: when it counts as lost, and how it is opened again.
        on_event: called in the thread that iterates; without it events are logged as warnings.
        kind: "camera" or "stream".

    Opening waits for the first frame; a source that cannot be opened at once is not waited for further.
    Iteration ends when the source is closed, from any thread, and in no other way.

    Raises SourceError when it cannot be opened or was closed, or the policy's attempts are used up.
    """

    count: Final = None

    def __init__(
        self,
        name: str,
        open_capture: OpenCapture,
        policy: ReopenPolicy = DEFAULT_POLICY,
        on_event: Callable[[SourceEvent], None] | None = None,
        kind: Literal["camera", "stream"] = "camera",
    ) -> None:
        self.kind: Final = kind
        self._name = name
        self._open_capture = open_capture
        self._policy = policy
        self._on_event = on_event or _log_event
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._left: set[_Reader] = set()  # readers that were stopped and may still hang
        self._start_time: float | None = None
        self._size: tuple[int, ...] = ()
        self._start_reader(0)
        loss = self._reader.wait(policy.open_timeout)
        if loss is not None:
            self.close()
            raise SourceError(loss.message)

    @property
    def frame_rate(self) -> float | None:
        """[frames/s], where the source tells it."""
        return self._reader.frame_rate

    def __iter__(self) -> Iterator[SourceFrame]:
        if self._closed.is_set():
            raise SourceError(f"{self._name}: was closed; open it again")
        while (received := self._next()) is not None:
            number, moment, image = received
            if self._start_time is None:
                self._start_time = moment
            self._note_size(image)
            yield SourceFrame(
                number, f"{number:06d}", moment - self._start_time, moment, to_rgb(image, self._name)
            )

    def close(self) -> None:
        """Free the device or connection; a read that hangs is waited for two seconds. May be repeated."""
        with self._lock:
            self._closed.set()
            self._stop_reader()

    def _next(self) -> _Received | None:
        """The newest frame, as soon as there is one; None when the source was closed."""
        while not self._closed.is_set():
            loss = self._reader.wait(self._policy.timeout)
            if loss is not None:
                self._reopen(loss)
            elif (received := self._reader.take()) is not None:
                return received
        return None

    def _reopen(self, loss: SourceEvent) -> None:
        """Open it until frames come. Raises SourceError after the policy's attempts."""
        self._on_event(loss)
        self._stop_reader()
        for pause in self._policy.pauses():
            if self._closed.wait(pause):
                return
            failure = self._open_again()
            if self._closed.is_set():
                return
            if failure is None:
                self._on_event(SourceEvent("reopened", f"{self._name}: gives frames again"))
                return
            loss = failure
            self._on_event(loss)
        raise SourceError(f"{loss.message}; given up after {self._policy.attempts} attempts to open it again")

    def _open_again(self) -> SourceEvent | None:
        """Open it once; tells why that has failed, or None when there is a frame."""
        self._left = {reader for reader in (*self._left, self._reader) if reader.alive}
        if len(self._left) >= MOST_HUNG:
            return SourceEvent("failed", f"{self._name}: {MOST_HUNG} earlier reads of it still hang")
        self._start_reader(self._reader.received)
        loss = self._reader.wait(self._policy.open_timeout)
        if loss is not None:
            self._stop_reader()
        return loss

    def _start_reader(self, first: int) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._reader = _Reader(self._name, self._open_capture, first)
                # Runs once: when called, when this source is forgotten, or when the interpreter ends.
                wait = min(CLOSE_WAIT, self._policy.timeout)
                self._stop_reader = weakref.finalize(self, self._reader.stop, wait)

    def _note_size(self, image: NDArray[Any]) -> None:
        size = image.shape[:2]
        if self._size and size != self._size:
            old, new = (f"{width} x {height} px" for height, width in (self._size, size))
            self._on_event(SourceEvent("resized", f"{self._name}: frames are {new} from now on, not {old}"))
        self._size = size


class _Received(NamedTuple):
    """A frame as a capture gives it."""

    number: int
    moment: float  # of time.monotonic() [s]
    image: NDArray[Any]  # BGR


class _Reader:
    """Opens a capture and reads it, in a thread of its own, until it is told to stop or there is no more."""

    def __init__(self, name: str, open_capture: OpenCapture, first: int) -> None:
        self._name = name
        self._open_capture = open_capture
        self._changed = threading.Condition()
        self._newest: _Received | None = None
        self._loss: SourceEvent | None = None
        self._told = False
        self.received = first  # frames, those of earlier readers as well
        self.frame_rate: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"{READER} {name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, timeout: float) -> SourceEvent | None:
        """Wait for a frame, or for the end; tells why there will be none."""
        with self._changed:
            if self._changed.wait_for(lambda: self._newest or self._loss or self._told, timeout):
                return None if self._newest else self._loss
        return SourceEvent("stalled", f"{self._name}: no frame for {timeout:g} s")

    def take(self) -> _Received | None:
        """The newest frame, once."""
        with self._changed:
            newest, self._newest = self._newest, None
            return newest

    def stop(self, wait: float) -> None:
        """Tell the thread to end, and wait [s] for that: in vain where its read hangs."""
        with self._changed:
            self._told = True
            self._changed.notify_all()
        # The garbage collector may call this in any thread, in this one as well.
        if self._thread is not threading.current_thread():
            self._thread.join(wait)

    def _run(self) -> None:
        try:
            capture = self._open_capture()
            try:
                loss = self._read(capture)
            finally:
                capture.release()
        except SourceError as error:
            loss = SourceEvent("failed", str(error))
        except Exception as error:  # noqa: BLE001 - whatever a capture raises, it is lost
            loss = SourceEvent("failed", f"{self._name}: {type(error).__name__}: {first_line(error)}")
        with self._changed:
            self._loss = loss
            self._changed.notify_all()

    def _read(self, capture: Capture) -> SourceEvent:
        self.frame_rate = frame_rate(capture)
        while not self._told:
            there, image = capture.read()
            if not there or image is None:
                break
            with self._changed:
                self._newest = _Received(self.received, time.monotonic(), image)
                self.received += 1
                self._changed.notify_all()
        return SourceEvent("ended", f"{self._name}: gives no more frames")


def _log_event(event: SourceEvent) -> None:
    _log.warning("%s", event.message)
