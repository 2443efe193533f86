"""OpenCV's captures: what opens a camera, a stream from the network, a GStreamer pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import SourceError

HIGHEST_RATE: Final = 1000.0  # what a capture tells beyond it is no frame rate [frames/s]
_SECRETS: Final = re.compile(r"(?<=//)[^/\s@]+(?=@)|(?<=-pw=)\S+")


class Capture(Protocol):
    """What a live source reads from; cv2.VideoCapture is one."""

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        """True and the next frame (H, W, 3) uint8 BGR, or False and None at the end. May wait for ever."""
        ...

    def get(self, property_id: int, /) -> float:
        """A property of cv2.CAP_PROP_*, 0 or less where it is not known."""
        ...

    def release(self) -> None:
        """Free the device or the connection."""
        ...


OpenCapture: TypeAlias = Callable[[], Capture]
"""Opens a capture, again each time it is called. Raises SourceError when it cannot."""


def open_camera(camera: int | str) -> Capture:
    """Open a camera by number or by path (/dev/video0); it is asked to hold back no frames.

    Raises SourceError when there is none or it is taken.
    """
    import cv2

    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise SourceError(f"camera {camera}: cannot be opened, or gives no frame; is it connected and free?")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def open_stream(url: str, open_timeout: float, timeout: float) -> Capture:
    """Open rtsp://, http:// and what else FFmpeg reads from a network, with its time-outs [s].

    Raises SourceError when it cannot be opened, or is a file of known length: that one would lose frames,
    and come again from its beginning.
    """
    import cv2

    timeouts = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(open_timeout * 1e3)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(timeout * 1e3)),
    )
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        raise SourceError(
            f"{without_passwords(url)}: cannot be opened; is it there, and is it a video stream?"
        )
    frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if frames > 0:
        capture.release()
        raise SourceError(
            f"{without_passwords(url)}: a file of {frames:.0f} frames and no live stream; "
            "download it and give its path"
        )
    return capture


def open_pipeline(pipeline: str) -> Capture:
    """Open a GStreamer pipeline that ends in an appsink, such as "... ! videoconvert ! appsink".

    Raises SourceError when this OpenCV has no GStreamer or the pipeline does not start.
    """
    import cv2

    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            "this OpenCV was built without GStreamer, as the one from pip is; use the OpenCV of your system "
            "(JetPack, Debian: python3-opencv) or build it WITH_GSTREAMER=ON"
        )
    shown = without_passwords(pipeline)
    if "appsink" not in pipeline:
        raise SourceError(f"GStreamer pipeline {shown!r}: expected one that ends in '! appsink'")
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(f"GStreamer pipeline {shown!r}: does not start; does gst-launch-1.0 run it?")
    return capture


def frame_rate(capture: Capture) -> float | None:
    """[frames/s], None where the capture does not know it."""
    import cv2

    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return rate if 0 < rate < HIGHEST_RATE else None


def to_rgb(image: NDArray[Any], source: str) -> NDArray[np.uint8]:
    """A capture's frame (H, W, 3) uint8 BGR -> RGB. Raises SourceError, naming the source, for others."""
    import cv2

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise SourceError(
            f"{source}: expected frames (H, W, 3) of uint8, BGR, got {image.shape} of {image.dtype}; a "
            "GStreamer pipeline gives them with '! videoconvert ! video/x-raw, format=BGR ! appsink'"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def without_passwords(source: str) -> str:
    """The URL or pipeline as it may be shown: user and password of an address become ***."""
    return _SECRETS.sub("***", source)
