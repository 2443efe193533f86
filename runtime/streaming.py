"""A source from its first frame to its last: read in one thread, run in another, given out in a third."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError, FrameDroppedError
from argus_edge.results import Frame
from argus_edge.runtime import _native
from argus_edge.runtime.pending import PendingFrame
from argus_edge.runtime.preprocess import PixelFormat
from argus_edge.runtime.schedule import Overflow, native_overflow
from argus_edge.runtime.sources import Source, SourceFrame, open_source

__all__ = ["stream_frames"]

HandIn: TypeAlias = Callable[[int, NDArray[np.uint8], float | None, PixelFormat], PendingFrame]

_UNREAD: Final = 2  # frames that are run ahead of whoever takes the results
_POLL: Final = 0.1  # [s] of waiting without looking for signals and for the end
_LIVE: Final = ("camera", "stream")


def stream_frames(
    pipeline: _native.Pipeline,
    hand_in: HandIn,
    source: Source | str | Path | int | Iterable[NDArray[np.uint8]],
    overflow: Overflow | None,
    timeout: float,
) -> Generator[tuple[SourceFrame, Frame], None, None]:
    """Give each frame that was run with its results, in order. See `Runtime.stream`."""
    opened = source if isinstance(source, Source) else open_source(source)
    live = opened.kind in _LIVE
    policy = overflow or ("latest" if live else "wait")
    number = pipeline.open_stream(1, native_overflow(policy))
    reader = _Reader(opened, live, hand_in, number, drops=policy != "wait")
    try:
        yield from reader.frames()
    finally:
        reader.stop()
        pipeline.close_stream(number)
        reader.join(timeout)
        if opened is not source:
            opened.close()


class _Reader:
    """Takes frames from a source in a thread of its own and hands them in, as far ahead as there is room."""

    def __init__(self, source: Source, live: bool, hand_in: HandIn, stream: int, *, drops: bool) -> None:
        self._source, self._live, self._hand_in, self._stream, self._drops = (
            source,
            live,
            hand_in,
            stream,
            drops,
        )
        self._changed = threading.Condition()
        self._frames: deque[tuple[SourceFrame, PendingFrame]] = deque()
        self._stopped = self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="argus_edge reader", daemon=True)
        self._thread.start()

    def frames(self) -> Iterator[tuple[SourceFrame, Frame]]:
        """Frames with their results, until the source ends. Raises what ended it early."""
        while (taken := self._take()) is not None:
            item, pending = taken
            try:
                frame = pending.whatever_succeeded()
            except FrameDroppedError:
                continue
            yield item, frame
        if self._error is not None:  # raised, it would hold this object, which holds it
            raise copy.copy(self._error) from self._error.__cause__

    def stop(self) -> None:
        """Have the thread end after the frame that it reads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the thread, but not for a source that hangs."""
        self._thread.join(1.0 if self._live else timeout)

    def _take(self) -> tuple[SourceFrame, PendingFrame] | None:
        """The next frame that was handed in; None at the end."""
        with self._changed:
            while not self._frames:
                if self._ended:
                    return None
                self._changed.wait(_POLL)
            taken = self._frames.popleft()
            self._changed.notify_all()
            return taken

    def _read(self) -> None:
        try:
            for item in self._source:
                if not self._wait_for_room():
                    return
                captured = item.capture_time if self._live else None
                pending = self._hand_in(self._stream, item.image, captured, "rgb")
                with self._changed:
                    self._frames.append((item, pending))
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - whoever takes the frames gets it
            closed = isinstance(error, EngineError) and self._stopped
            self._error = None if closed else error.with_traceback(None)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Whether to hand in one more: where frames must not be lost, wait until results were taken; where
        they may, forget the oldest results that nobody has taken.
        """
        with self._changed:
            while len(self._frames) > _UNREAD and not self._stopped:
                if self._drops:
                    self._frames.popleft()
                else:
                    self._changed.wait(_POLL)
            return not self._stopped
