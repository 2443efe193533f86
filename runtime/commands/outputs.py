"""The files a run leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Frame
from argus_edge.runtime.commands.coco import CocoFiles
from argus_edge.runtime.contact_sheet import FrameSampler, contact_sheet
from argus_edge.runtime.draw import draw_apart
from argus_edge.runtime.sources import Source, SourceFrame

FOLDER_RATE: Final = 2.0  # of the video made from a folder of images [frames/s]
LIVE_RATE: Final = 15.0  # of the video of a camera or stream that does not tell its own [frames/s]


class RunFolder:
    """Writes results.jsonl, annotated.mp4, and at the end contact-sheet.png with some of the frames.

    Of a single image: annotated.png, and contact-sheet.png with the result of each task by itself. With
    `coco`, classes by task, the objects of these tasks as COCO results as well: see `CocoFiles`.

    A context manager: however the run ends, the files are finished on leaving, so that what was done can be
    looked at. `files` names what was written. Raises InputError when the folder cannot be written to.
    """

    def __init__(self, path: Path, source: Source, coco: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._path = path
        self._single = source.kind == "image"
        self._live = source.kind in ("camera", "stream")
        self._rate = source.frame_rate or (LIVE_RATE if self._live else FOLDER_RATE)
        self._last_time: float | None = None
        self._due = 1.0  # frames of the video
        self._sampler = FrameSampler(source.count)
        self._video: Any = None
        self._video_size = 0, 0
        self.files: list[Path] = [path / "results.jsonl"]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._results = self.files[0].open("w", encoding="utf-8", buffering=1)
            self._coco = CocoFiles(path, coco) if coco else None
        except OSError as error:
            raise self._unwritable(error) from error
        if self._coco is not None:
            self.files += self._coco.files

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a line that found the disk full was told of already
            self._results.close()
        if self._coco is not None:
            self._coco.close()
        if self._video is not None:
            self._video.release()
        if self._sampler.frames:
            self._save("contact-sheet.png", self._sampler.sheet())

    def add(self, source_frame: SourceFrame, frame: Frame, annotated: NDArray[np.uint8]) -> None:
        """Take one frame, its results, and the picture of them: (H, W, 3) uint8 RGB."""
        try:
            self._results.write(result_line(source_frame, frame) + "\n")
            if self._coco is not None:
                self._coco.add(source_frame, frame)
        except OSError as error:
            raise self._unwritable(error) from error
        if self._single:
            self._save("annotated.png", annotated)
            captions, pictures = zip(*draw_apart(source_frame.image, frame, min_score=0), strict=True)
            self._save("contact-sheet.png", contact_sheet(pictures, captions))
        else:
            self._write_video(annotated, self._copies(source_frame.time))
            seconds = "" if source_frame.time is None else f"  {source_frame.time:.2f} s"
            self._sampler.add(f"{source_frame.name}{seconds}", annotated)

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file."""
        self.files.append(self._path / name)
        self.files[-1].write_text(text, encoding="utf-8")

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"--out {self._path}: cannot be written to: {error.strerror or error}")

    def _save(self, name: str, picture: NDArray[np.uint8]) -> None:
        self.files.append(self._path / name)
        save_image(self.files[-1], picture)

    def _copies(self, time: float | None) -> int:
        """How often a frame is written: live, as many times as the video needs to last as long as what it
        shows, where a gap counts for a second at most.
        """
        if not self._live or time is None:
            return 1
        if self._last_time is not None:
            self._due += min(time - self._last_time, 1.0) * self._rate
        self._last_time = time
        copies = int(self._due)
        self._due -= copies
        return copies

    def _write_video(self, annotated: NDArray[np.uint8], copies: int) -> None:
        import cv2

        if self._video is None:
            # MPEG-4 part 2: what every OpenCV build can write; H.264 is missing from most of them.
            height, width = annotated.shape[:2]
            self._video_size = max(width, 2), max(height, 2)
            path = self._path / "annotated.mp4"
            self.files.append(path)
            self._video = cv2.VideoWriter(
                str(path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, self._video_size
            )
            if not self._video.isOpened():
                raise InputError(
                    f"{path}: this OpenCV build cannot write an MP4 video of {width} x {height} px"
                )
        picture = cv2.cvtColor(_letterboxed(annotated, self._video_size), cv2.COLOR_RGB2BGR)
        for _ in range(copies):
            self._video.write(picture)


def result_line(source_frame: SourceFrame, frame: Frame) -> str:
    """One line of results.jsonl: the frame's number, name and times [s], then `Frame.to_json`."""
    record = {
        "frame": source_frame.index,
        "name": source_frame.name,
        "time_s": source_frame.time,
        "capture_time_s": source_frame.capture_time,
    }
    return json.dumps({**record, **frame.to_json()})


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB by the suffix of the path. Raises InputError when it cannot be written."""
    import cv2

    coded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not coded:
        raise InputError(f"{path}: OpenCV cannot encode an image of {image.shape[1]} x {image.shape[0]} px")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _letterboxed(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Fit an image into (width, height) [px] with its aspect, on black: images of a folder differ in size."""
    import cv2

    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=cv2.INTER_AREA
    )
    return canvas
