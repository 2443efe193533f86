"""A frame that was handed in and whose results are still to come."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Final

from argus_edge.errors import EngineError, FrameDroppedError
from argus_edge.results import Frame
from argus_edge.runtime import _native
from argus_edge.runtime.device import Load

__all__ = ["PendingFrame"]

_SLICE: Final = 0.1  # [s] of waiting without looking for signals

_DROPPED: Final[Mapping[_native.FrameEnd, str]] = {
    _native.FrameEnd.OVERFLOW: "newer frames took its place in the queue",
    _native.FrameEnd.CLOSED: "the runtime or the stream was closed",
}


class PendingFrame:
    """Give the results of one frame, when they are there. Made by `Runtime.submit`.

    Results are made of the decoders' answers in the thread that asks for them, once.
    """

    def __init__(
        self,
        ticket: _native.Ticket,
        load: Load,
        finish: Callable[[Load, _native.FrameReport], tuple[Frame, Exception | None]],
        timeout: float,
    ) -> None:
        self._ticket, self._load, self._finish, self._timeout = ticket, load, finish, timeout
        self._finished: tuple[Frame, Exception | None] | None = None

    def done(self) -> bool:
        """Whether `result` would return, or raise, at once."""
        return self._ticket.wait(0.0) is not None

    def dropped(self) -> str | None:
        """Why there will be no results, in words; None where there are some, or while that is open."""
        report = self._ticket.wait(0.0)
        return None if report is None else _DROPPED.get(report.end)

    def result(self, timeout: float | None = None) -> Frame:
        """Wait for the results of every task that was due.

        Args:
            timeout: how long to wait [s]; None is the runtime's own time-out.

        Returns the frame. Tasks that were not due, or were skipped, are in `Frame.missing`.
        Raises what a task failed with, FrameDroppedError when the frame was dropped, EngineError when nothing
        came in time.
        """
        frame, error = self._outcome(timeout)
        if error is not None:
            # What is raised holds the callers it passes, and so this object, which must not hold it.
            raise copy.copy(error) from error.__cause__
        return frame

    def whatever_succeeded(self, timeout: float | None = None) -> Frame:
        """As `result`, but tasks that failed are in `Frame.missing` too."""
        return self._outcome(timeout)[0]

    def _outcome(self, timeout: float | None) -> tuple[Frame, Exception | None]:
        if self._finished is None:
            report = self._wait(self._timeout if timeout is None else timeout)
            self._finished = self._finish(self._load, report)
        return self._finished

    def _wait(self, timeout: float) -> _native.FrameReport:
        limit = time.monotonic() + timeout
        while True:
            left = limit - time.monotonic()
            report = self._ticket.wait(max(min(left, _SLICE), 0.0))
            if report is not None:
                break
            if left <= 0:
                raise EngineError(
                    f"frame {self._ticket.id}: no results within {timeout:g} s; is the engine stuck?"
                )
        if report.end in _DROPPED:
            raise FrameDroppedError(f"frame {report.id} was dropped: {_DROPPED[report.end]}")
        return report
