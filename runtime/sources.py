"""Where frames come from: an image, a folder of images, a video file, a camera, or arrays.

Every source is a context manager that iterates over `SourceFrame`s, RGB throughout. Images are turned upright
by their EXIF orientation and videos by their rotation tag (OpenCV does both), so results refer to what a
viewer shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError, SourceError

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

SourceKind: TypeAlias = Literal["image", "folder", "video", "camera", "arrays"]


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame.

    index: 0-based position in the source, files that were skipped not counted.
    name: file name, or "000012" in a video, camera or sequence of arrays.
    time: [s] since the first frame: by the frame rate in a video file, by the clock on a camera, None where
        there is no time (images, arrays).
    image: (H, W, 3) uint8 RGB.
    """

    index: int
    name: str
    time: float | None
    image: NDArray[np.uint8]


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


def open_source(
    source: str | Path | int | Iterable[NDArray[np.uint8]],
    on_skip: Callable[[ImageError], None] | None = None,
) -> Source:
    """Open whatever was given.

    Args:
        source: path of an image, a folder or a video; a camera number (0 or "0"); an iterable of (H, W, 3)
            uint8 RGB.
        on_skip: called for each file of a folder that is not a readable image, which is then left out.
            Without it the first such file raises.

    Raises SourceError naming what is missing, empty or dead, ImageError for an image that cannot be read.
    """
    if isinstance(source, int):
        return VideoSource(source)
    if not isinstance(source, (str, Path)):
        return ArraySource(source)
    path = Path(source)
    if path.is_dir():
        return FolderSource(path, on_skip)
    if isinstance(source, str) and source.isdecimal() and not path.exists():
        return VideoSource(int(source))
    if not path.is_file():
        raise SourceError(
            f"{source}: there is no such file or folder; expected an image, a folder of images, a video file "
            "or a camera number"
        )
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    if path.suffix.lower() in IMAGE_SUFFIXES or _looks_like_image(path):
        return ImageSource(path)
    return VideoSource(path)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file -> (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Grey becomes RGB, deeper images become 8 bits per channel, an alpha channel is dropped. Raises ImageError
    naming the path when it is missing, empty or not an image.
    """
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if data.size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes)")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded: {error.err or 'unknown error'}") from error
    if image is None:
        raise ImageError(
            f"{path}: not an image that OpenCV can read; expected JPEG, PNG, BMP, WebP, TIFF or PPM"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


class _Closing:
    """`with` for a source."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what the source holds. Harmless when repeated."""


class ImageSource(_Closing):
    """One image file, read at once. Raises ImageError."""

    kind: Final = "image"
    count: Final = 1
    frame_rate: Final = None

    def __init__(self, path: Path) -> None:
        self._frame = SourceFrame(0, path.name, None, read_image(path))

    def __iter__(self) -> Iterator[SourceFrame]:
        yield self._frame


class FolderSource(_Closing):
    """The files of a folder with an image suffix, by name; subfolders are left out. See `open_source`."""

    kind: Final = "folder"
    frame_rate: Final = None

    def __init__(self, path: Path, on_skip: Callable[[ImageError], None] | None = None) -> None:
        self._path = path
        self._on_skip = on_skip
        self._files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        self.count = len(self._files)
        if not self._files:
            raise SourceError(
                f"{path}: no image in this folder; expected {', '.join(sorted(IMAGE_SUFFIXES))}"
            )

    def __iter__(self) -> Iterator[SourceFrame]:
        index = 0
        for file in self._files:
            try:
                image = read_image(file)
            except ImageError as error:
                if self._on_skip is None:
                    raise
                self._on_skip(error)
                continue
            yield SourceFrame(index, file.name, None, image)
            index += 1
        if index == 0:
            raise SourceError(f"{self._path}: none of its {self.count} files is a readable image")


class VideoSource(_Closing):
    """A video file (Path) or a camera (number), through OpenCV; a camera is asked to hold back no frames."""

    def __init__(self, source: Path | int) -> None:
        import cv2

        self._source = source
        self.kind: SourceKind = "camera" if isinstance(source, int) else "video"
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            raise SourceError(self._cannot_open())
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.frame_rate = rate if 0 < rate < 1000 else None
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = frames if self.kind == "video" and frames > 0 else None

    def __iter__(self) -> Iterator[SourceFrame]:
        import cv2

        index, start = 0, time.monotonic()
        while True:
            received, image = self._capture.read()
            if not received:
                break
            if self.kind == "camera":
                seconds = time.monotonic() - start
            else:
                seconds = index / self.frame_rate if self.frame_rate else 0.0
            rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            yield SourceFrame(index, f"{index:06d}", seconds, rgb)
            index += 1
        if index == 0:
            raise SourceError(self._cannot_open())
        if self.kind == "camera":
            raise SourceError(f"camera {self._source}: stopped giving frames after {index}")

    def close(self) -> None:
        """Free the file or the camera. Harmless when repeated."""
        self._capture.release()

    def _cannot_open(self) -> str:
        if self.kind == "camera":
            return f"camera {self._source}: cannot be opened, or gives no frame; is it connected and free?"
        return f"{self._source}: neither an image nor a video that OpenCV can read"


class ArraySource(_Closing):
    """Arrays as they come, (H, W, 3) uint8 RGB each; whoever consumes them checks them."""

    kind: Final = "arrays"
    frame_rate: Final = None

    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self._images = images
        self.count = len(images) if isinstance(images, Sized) else None

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, image in enumerate(self._images):
            yield SourceFrame(index, f"{index:06d}", None, image)


def _looks_like_image(path: Path) -> bool:
    import cv2

    return bool(cv2.haveImageReader(str(path)))
