"""What a layout takes and leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argus_edge.train.data.example import Example
from argus_edge.train.data.layouts.files import Files, jpeg

Row = Any
"""What a layout has to remember of one image for the files about all of them; plain JSON."""


@dataclass(slots=True)
class Entry:
    """One image on its way into the layouts."""

    split: str  # "train" or "val"
    seed: int
    example: Example
    picture: Path | None = None  # once a layout has written it

    @property
    def name(self) -> str:
        """Of its files, without the ending: twelve digits, as COCO has."""
        return f"{self.seed:012d}"

    def write_picture(self, files: Files, path: str) -> None:
        """Write the image; every layout after the first links to the same file."""
        if self.picture is None:
            files.write(path, jpeg(self.example.image))
            self.picture = files.root / path
        else:
            files.link(path, self.picture)


@dataclass(frozen=True, slots=True)
class Layout:
    """One published layout."""

    tasks: tuple[str, ...]  # whose labels it holds
    add: Callable[[Entry, Files], Row]  # writes the files of one image
    finish: Callable[[Mapping[str, list[Row]], Files], None]
    """Writes the files about all images: split -> rows in the order of the seeds."""


def nothing_to_finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    """For layouts whose every file is about one image."""
