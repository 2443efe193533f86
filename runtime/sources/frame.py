"""What every source gives, and how a source is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SourceKind: TypeAlias = Literal["image", "folder", "video", "camera", "stream", "arrays"]


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame.

    index: sequence number from 0. Files of a folder that were skipped are not counted; frames that a camera
        or stream gave while nobody took them are, so a gap tells how many were passed over.
    name: file name, or "000012" where frames have none.
    time: [s] since the first frame: by the frame rate in a video file, by the clock on a camera or stream,
        None where there is no time (images, arrays).
    capture_time: [s] of time.monotonic() when the frame was received.
    image: (H, W, 3) uint8 RGB.
    """

    index: int
    name: str
    time: float | None
    capture_time: float
    image: NDArray[np.uint8]


@runtime_checkable
class Source(Protocol):
    """Iterable once or more; what it holds (a camera, an open file) is freed by `with` or `close`."""

    @property
    def kind(self) -> SourceKind: ...
    @property
    def count(self) -> int | None:
        """Number of frames where it is known beforehand."""
        ...

    @property
    def frame_rate(self) -> float | None:
        """[frames/s], where the source has one."""
        ...

    def __iter__(self) -> Iterator[SourceFrame]: ...
    def __enter__(self) -> Source: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def close(self) -> None: ...


class Closing:
    """`with` for a source."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what the source holds. Harmless when repeated."""
