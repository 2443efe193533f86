"""How a run ends that is told to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType


@contextmanager
def ending_between_frames() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Turn Ctrl-C, and SIGTERM from a service manager, into KeyboardInterrupt: at once while a frame is
    waited for, and else when the frame at hand is in every file, unless a second signal comes.

    The value of the `with` makes the context of a frame at hand.
    """
    busy = asked = False

    def ask(_number: int, _stack: FrameType | None) -> None:
        nonlocal asked
        if asked or not busy:
            raise KeyboardInterrupt
        asked = True

    @contextmanager
    def frame_at_hand() -> Iterator[None]:
        nonlocal busy
        busy = True
        yield
        busy = False
        if asked:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield frame_at_hand
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
