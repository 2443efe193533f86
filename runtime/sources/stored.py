"""What is recorded already: an image, a folder of images, a video file, arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError, SourceError
from argus_edge.runtime.sources.captures import frame_rate, to_rgb
from argus_edge.runtime.sources.frame import Closing, SourceFrame

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


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


class ImageSource(Closing):
    """One image file, read at once. Raises ImageError."""

    kind: Final = "image"
    count: Final = 1
    frame_rate: Final = None

    def __init__(self, path: Path) -> None:
        self._name, self._image = path.name, read_image(path)

    def __iter__(self) -> Iterator[SourceFrame]:
        yield SourceFrame(0, self._name, None, time.monotonic(), self._image)


class FolderSource(Closing):
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
            yield SourceFrame(index, file.name, None, time.monotonic(), image)
            index += 1
        if index == 0:
            raise SourceError(f"{self._path}: none of its {self.count} files is a readable image")


class VideoSource(Closing):
    """A video file, through OpenCV. Raises SourceError when it is none, or was closed."""

    kind: Final = "video"

    def __init__(self, path: Path) -> None:
        import cv2

        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(self._no_video())
        self.frame_rate = frame_rate(self._capture)
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = frames if frames > 0 else None

    def __iter__(self) -> Iterator[SourceFrame]:
        if not self._capture.isOpened():
            raise SourceError(f"{self._path}: was closed; open it again")
        index = 0
        while True:
            received, image = self._capture.read()
            if not received:
                break
            now, seconds = time.monotonic(), index / self.frame_rate if self.frame_rate else 0.0
            yield SourceFrame(index, f"{index:06d}", seconds, now, to_rgb(image, str(self._path)))
            index += 1
        if index == 0:
            raise SourceError(self._no_video())

    def close(self) -> None:
        """Free the file. Harmless when repeated."""
        self._capture.release()

    def _no_video(self) -> str:
        return f"{self._path}: neither an image nor a video that OpenCV can read"


class ArraySource(Closing):
    """Arrays as they come, (H, W, 3) uint8 RGB each; whoever consumes them checks them."""

    kind: Final = "arrays"
    frame_rate: Final = None

    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self._images = images
        self.count = len(images) if isinstance(images, Sized) else None

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, image in enumerate(self._images):
            yield SourceFrame(index, f"{index:06d}", None, time.monotonic(), image)
