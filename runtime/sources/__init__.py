"""Where frames come from: files, cameras, streams from the network, GStreamer pipelines, arrays.

Every source is a context manager that iterates over `SourceFrame`s, RGB throughout. Images are turned upright
by their EXIF orientation and videos by their rotation tag (OpenCV does both), so results refer to what a
viewer shows. stored.py has what ends by itself, live.py what is read in a thread of its own and opened again
when it is lost, captures.py how OpenCV opens that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError, SourceError
from argus_edge.runtime.sources.captures import (
    Capture,
    open_camera,
    open_pipeline,
    open_stream,
    without_passwords,
)
from argus_edge.runtime.sources.frame import Source, SourceFrame, SourceKind
from argus_edge.runtime.sources.live import DEFAULT_POLICY, READER, LiveSource, ReopenPolicy, SourceEvent
from argus_edge.runtime.sources.stored import (
    IMAGE_SUFFIXES,
    ArraySource,
    FolderSource,
    ImageSource,
    VideoSource,
    read_image,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "READER",
    "Capture",
    "LiveSource",
    "ReopenPolicy",
    "Source",
    "SourceEvent",
    "SourceFrame",
    "SourceKind",
    "open_source",
    "read_image",
    "without_passwords",
]

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_NUMBER: Final = re.compile(r"[0-9]{1,3}")
_PIPELINE: Final = " ! "
_EXPECTED: Final = (
    "expected an image, a folder of images, a video file, a camera (0, /dev/video0), the URL of a stream "
    "(rtsp://, http://) or a GStreamer pipeline (... ! appsink)"
)


def open_source(
    source: str | Path | int | Iterable[NDArray[np.uint8]],
    on_skip: Callable[[ImageError], None] | None = None,
    policy: ReopenPolicy = DEFAULT_POLICY,
    on_event: Callable[[SourceEvent], None] | None = None,
) -> Source:
    """Open whatever was given.

    Args:
        source: path of an image, a folder or a video; a camera by number (0 or "0") or path (/dev/video0);
            the URL of a stream; a GStreamer pipeline, known by " ! "; an iterable of (H, W, 3) uint8 RGB.
        on_skip: called for each file of a folder that is not a readable image, which is then left out.
            Without it the first such file raises.
        policy: when a camera, stream or pipeline counts as lost, and how it is opened again.
        on_event: called when such a source is lost, gives frames again, or changes their size; without it
            that is logged.

    Raises SourceError naming what is missing, empty or dead, ImageError for an image that cannot be read.
    """
    if isinstance(source, (str, int)):
        live = _open_live(source, policy, on_event)
        if live is not None:
            return live
    if isinstance(source, (str, Path)):
        try:
            return _open_path(source, on_skip)
        except OSError as error:
            raise SourceError(f"{source!s:.200}: cannot be read: {error.strerror or error}") from error
    if not isinstance(source, Iterable):
        raise SourceError(f"{_EXPECTED}, or an iterable of arrays; got {type(source).__name__}")
    return ArraySource(source)


def _open_live(
    source: str | int, policy: ReopenPolicy, on_event: Callable[[SourceEvent], None] | None
) -> LiveSource | None:
    """Open a camera, stream or pipeline; None when it is none of them."""
    if isinstance(source, int) or (_NUMBER.fullmatch(source) and not Path(source).exists()):
        camera = int(source)
        if camera < 0:
            raise SourceError(f"a camera's number counts from 0, got {camera}")
        return LiveSource(f"camera {camera}", partial(open_camera, camera), policy, on_event)
    if source.startswith("/dev/"):
        return LiveSource(f"camera {source}", partial(open_camera, source), policy, on_event)
    if _PIPELINE in source:
        name = f"pipeline {without_passwords(source)!r}"
        return LiveSource(name, partial(open_pipeline, source), policy, on_event, "stream")
    if _URL.match(source):
        open_capture = partial(open_stream, source, policy.open_timeout, policy.timeout)
        return LiveSource(without_passwords(source), open_capture, policy, on_event, "stream")
    return None


def _open_path(source: str | Path, on_skip: Callable[[ImageError], None] | None) -> Source:
    path = Path(source)
    if source and path.is_dir():
        return FolderSource(path, on_skip)
    if not path.is_file():
        raise SourceError(f"{source!s:.200}: there is no such file or folder; {_EXPECTED}")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    if path.suffix.lower() in IMAGE_SUFFIXES or _looks_like_image(path):
        return ImageSource(path)
    return VideoSource(path)


def _looks_like_image(path: Path) -> bool:
    import cv2

    return bool(cv2.haveImageReader(str(path)))
