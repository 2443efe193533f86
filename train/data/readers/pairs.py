"""Pictures and label maps of the same name in two folders, and the maps' values as classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError
from argus_edge.train.data.example import IGNORE, Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import images_by_stem, shown
from argus_edge.train.data.readers.listed import BrokenFile, label_map, picture

MAP_SUFFIXES: Final = (".png", ".bmp", ".tif", ".tiff")  # those that keep every value


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its label map; None where there is none."""

    picture: Path
    map: Path | None


def pair_up(root: Path, pictures: Path, maps: Path, problems: Problems) -> list[Pair]:
    """All pictures of one folder, sorted by name, each with the map of the same name in the other.

    A map without a picture is a problem. Raises DatasetError if there is no picture or no map.
    """
    found, by_stem = (
        images_by_stem(pictures, root, problems),
        images_by_stem(maps, root, problems, MAP_SUFFIXES),
    )
    empty = [shown(folder) for folder, names in ((pictures, found), (maps, by_stem)) if not names]
    if empty:
        raise DatasetError(
            f"{' and '.join(empty)}: expected pictures, and maps ({', '.join(MAP_SUFFIXES)}), got none"
        )
    for stem in (stem for stem in by_stem if stem not in found):
        what = f"no picture of this name in {shown(pictures.relative_to(root))}"
        problems.add(shown(by_stem[stem].relative_to(root)), what, "annotation")
    return [Pair(path, by_stem.get(stem)) for stem, path in found.items()]


@dataclass(frozen=True)
class PairReader:
    """Reads a pair into an example with `labels`."""

    root: Path
    maps: Path  # their folder, for messages
    classes: int
    first: int = 0  # value of class 0
    ignored: Collection[int] = (IGNORE,)  # values that say nothing

    def __call__(self, pair: Pair) -> Example:
        """The example. Raises BrokenFile for no map, or one of another size, of colours or unknown values."""
        name = shown(pair.picture.relative_to(self.root))
        if pair.map is None:
            raise BrokenFile(name, f"no label map of this name in {shown(self.maps.relative_to(self.root))}")
        values = label_map(self.root, pair.map)
        try:
            labels = as_classes(values, self.classes, self.first, self.ignored)
        except ValueError as error:
            raise BrokenFile(shown(pair.map.relative_to(self.root)), str(error)) from error
        return Example(name, picture(self.root, pair.picture, labels.shape), labels=labels)


def as_classes(
    values: NDArray[np.integer], classes: int, first: int, ignored: Collection[int]
) -> NDArray[np.uint8]:
    """Values (H, W) of a label map as classes 0 ... `classes` - 1, and 255 for those that are ignored.

    `first` is the value of class 0. Raises ValueError, saying why, for values that are neither.
    """
    table = np.full(256, -1, np.int16)
    table[first : first + classes] = np.arange(classes)[: 256 - first]
    table[[value for value in ignored if 0 <= value < 256]] = IGNORE
    known = (values >= 0) & (values < 256)
    labels = table[np.where(known, values, 0)]
    wrong = np.unique(values[~known | (labels < 0)])
    if wrong.size:
        some = ", ".join(map(str, wrong[:5])) + (", ..." if wrong.size > 5 else "")
        raise ValueError(
            f"label map has the values {some}; expected {first} to {first + classes - 1}, "
            f"and {', '.join(map(str, sorted(ignored)))} for what is ignored"
        )
    return labels.astype(np.uint8)
