"""The part that most readers share: a list of entries, each read into an example when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError
from argus_edge.train.data.example import Example
from argus_edge.train.data.images import read_map, read_rgb
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import shown
from argus_edge.train.metrics import TaskMetric

Entry = TypeVar("Entry")


class BrokenFile(Exception):  # noqa: N818  (it ends the reading of one image, and is caught)
    """Raised while an entry is read: the file because of which its image cannot be used, and why."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what


@dataclass(frozen=True, eq=False)
class ListedImages(Generic[Entry]):
    """A `LabelledImages` of entries. What a `BrokenFile` tells becomes a problem and the image None."""

    title: str
    classes: Mapping[str, tuple[str, ...]]
    tasks: tuple[str, ...]
    problems: Problems
    entries: Sequence[Entry]
    read: Callable[[Entry], Example]  # may raise BrokenFile; can be pickled, so no lambda
    metrics: Mapping[str, TaskMetric] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example | None:
        try:
            return self.read(self.entries[index])
        except BrokenFile as broken:
            self.problems.add(broken.path, broken.what, "image")
            return None


def picture(root: Path, path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """As `read_rgb`, but raises BrokenFile with the path relative to `root`."""
    try:
        return read_rgb(path, size)
    except ImageError as error:
        raise BrokenFile(shown(path.relative_to(root)), str(error)) from error


def label_map(root: Path, path: Path) -> NDArray[Any]:
    """A label map (H, W) of whole numbers, as stored. Raises BrokenFile, for colours too."""
    try:
        values = read_map(path)
    except ImageError as error:
        raise BrokenFile(shown(path.relative_to(root)), str(error)) from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        kind = "colours" if values.ndim != 2 else f"{values.dtype} values"
        what = f"label map has {kind}; expected one whole number per pixel, the index of its class"
        raise BrokenFile(shown(path.relative_to(root)), what)
    return values


def counted(title: str, count: int, published: int | None) -> str:
    """The title with the number of images, and how that compares with what is published of the split."""
    if published is None:
        return f"{title}: {count:,} images"
    return f"{title}: {count:,} images ({'as' if count == published else f'{published:,}'} published)"
