"""Files that appear whole or not at all, and pictures and maps as bytes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG_QUALITY: Final = 95
_PNG_LEVEL: Final = 1  # the next one takes a tenth more time and saves a twentieth


@dataclass(frozen=True, slots=True)
class Files:
    """Writes files below `root`. Each is made in the folder `unfinished` of the same disk and then moved."""

    root: Path
    unfinished: Path

    def below(self, name: str) -> Files:
        """The same for a folder of the root."""
        return Files(self.root / name, self.unfinished)

    def write(self, path: str, data: bytes) -> None:
        """Write a file, in place of one that is there. Makes its folder."""
        beside = self.unfinished / str(os.getpid())
        beside.write_bytes(data)
        beside.replace(self._place(path))

    def write_json(self, path: str, content: Any) -> None:
        """The same, as compact JSON."""
        self.write(path, json.dumps(content, separators=(",", ":"), allow_nan=False).encode())

    def write_lines(self, path: str, lines: Iterable[str]) -> None:
        """The same, as a text of lines."""
        self.write(path, "".join(f"{line}\n" for line in lines).encode())

    def link(self, path: str, source: Path) -> None:
        """Give a whole file a second name, or copy it where the disk knows no hard links."""
        place = self._place(path)
        place.unlink(missing_ok=True)
        try:
            place.hardlink_to(source)
        except OSError:
            beside = self.unfinished / str(os.getpid())
            shutil.copyfile(source, beside)
            beside.replace(place)

    def make_folder(self, path: str) -> None:
        """Make a folder, unless it is there."""
        (self.root / path).mkdir(parents=True, exist_ok=True)

    def _place(self, path: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """An image (H, W, 3) RGB as JPEG."""
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return _encode(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)


def png(values: NDArray[Any]) -> bytes:
    """A map (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB, as PNG: not a bit is lost."""
    picture = cv2.cvtColor(values, cv2.COLOR_RGB2BGR) if values.ndim == 3 else values
    return _encode(".png", picture, cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL)


def _encode(ending: str, picture: NDArray[Any], option: int, value: int) -> bytes:
    whole, data = cv2.imencode(ending, picture, [option, value])
    assert whole
    return data.tobytes()
