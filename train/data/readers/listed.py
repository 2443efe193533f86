"""The part that most readers share: a list of entries, each read into an example when asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError, first_line, shown
from argus_edge.train.data.example import IGNORE, Example
from argus_edge.train.data.images import read_map, read_rgb
from argus_edge.train.data.problems import Problems
from argus_edge.train.metrics import TaskMetric

Entry = TypeVar("Entry")

ReadPicture: TypeAlias = Callable[[Path, Path, tuple[int, int] | None], NDArray[np.uint8]]
"""(root, path, size that its annotations have) -> picture, as `picture` below."""


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
        raise broken_file(root, path, error) from error


def stored_map(root: Path, path: Path) -> NDArray[Any]:
    """A map as `read_map` gives it, (H, W) or (H, W, 3). Raises BrokenFile."""
    try:
        return read_map(path)
    except ImageError as error:
        raise broken_file(root, path, error) from error


def label_map(root: Path, path: Path) -> NDArray[Any]:
    """A label map (H, W) of whole numbers, as stored. Raises BrokenFile, for colours too."""
    values = stored_map(root, path)
    if values.ndim != 2 or values.dtype.kind not in "iu":
        kind = "colours" if values.ndim != 2 else f"{values.dtype} values"
        what = f"label map has {kind}; expected one whole number per pixel, the index of its class"
        raise broken_file(root, path, what)
    return values


@dataclass(frozen=True)
class ClassValues:
    """Which values of a label map stand for which classes."""

    classes: int
    first: int = 0  # value of class 0
    ignored: Collection[int] = (IGNORE,)  # values that say nothing

    def __call__(self, root: Path, path: Path, values: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Values (H, W) of the map at `path` as classes 0 ... `classes` - 1, 255 where they are ignored.

        Raises BrokenFile for values that are neither.
        """
        table = np.full(256, -1, np.int16)
        table[self.first : self.first + self.classes] = np.arange(self.classes)[: 256 - self.first]
        table[[value for value in self.ignored if 0 <= value < 256]] = IGNORE
        known = (values >= 0) & (values < 256)
        labels = table[np.where(known, values, 0)]
        wrong = np.unique(values[~known | (labels < 0)])
        if wrong.size:
            some = ", ".join(map(str, wrong[:5])) + (", ..." if wrong.size > 5 else "")
            raise broken_file(
                root,
                path,
                f"label map has the values {some}; expected {self.first} to {self.first + self.classes - 1}, "
                f"and {', '.join(map(str, sorted(self.ignored)))} for what is ignored",
            )
        return labels.astype(np.uint8)


def broken_file(root: Path, path: Path, why: str | BaseException) -> BrokenFile:
    """What to raise for a file below `root`: because of what was found, or of a library's error."""
    if isinstance(why, ImageError):
        why = str(why)
    elif isinstance(why, BaseException):
        told = getattr(why, "strerror", None) or first_line(why)
        # The same words each time: a place in memory would make another problem of it when it is read again.
        why = f"cannot be read: {re.sub(' at 0x[0-9a-f]+', '', told)}"
    return BrokenFile(shown(path.relative_to(root)), why)


def counted(title: str, count: int, published: int | None) -> str:
    """The title with the number of images, and how that compares with what is published of the split."""
    if published is None:
        return f"{title}: {count:,} images"
    return f"{title}: {count:,} images ({'as' if count == published else f'{published:,}'} published)"
